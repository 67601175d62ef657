"""Saves at the end of a session and prints what happened. Only in the process that reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_compilecache.plugin import options
from pytest_compilecache.plugin.collecting import Collecting

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_compilecache.cache import Trouble
    from pytest_compilecache.report.files import Report
    from pytest_compilecache.report.terminal import Outcome

_TONES: dict[str, dict[str, bool]] = {"good": {"green": True}, "plain": {}, "bad": {"yellow": True}}


class Reporting:
    """The header, the save and the summary."""

    def __init__(self, config: pytest.Config, collecting: Collecting) -> None:
        self._config = config
        self._collecting = collecting
        self._unwritten: list[Trouble] = []

    def pytest_report_header(self) -> list[str]:
        """What is in force, once torch is loaded or a setting is given."""
        session = self._collecting.session
        if session.engine is None and not session.configured and not options.given(self._config):
            return []
        settings = session.settings
        session.locate()
        environment = session.environment.id if session.environment else "unknown"
        parts = [f"environment {environment}"]
        if session.workspace is not None and session.workspace.note:
            parts.append(session.workspace.note)
        if settings.store:
            parts.append(f"store {settings.store} (save: {settings.save})")
        if settings.run != "compiled":
            parts.append(f"--compilecache-run={settings.run}")
        if settings.fallback is not None:
            parts.append(f"--compilecache-fallback={settings.fallback}")
        if session.variables.sets("TORCHINDUCTOR_CPP_DYNAMIC_THREADS"):
            parts.append("TORCHINDUCTOR_CPP_DYNAMIC_THREADS=1 is set")
        return ["compilecache: " + "; ".join(parts)]

    def finish(self, session: pytest.Session) -> None:
        """Save what is new; under strictness, let trouble fail the session."""
        self._collecting.close()
        ours = self._collecting.session
        compiled = self._collecting.workers_compiled or self._collecting.figures is not None
        ours.finish(workers_compiled=compiled)
        if ours.configured and ours.settings.report is not None:
            self._write(ours.settings.report)
        passed = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
        if ours.configured and ours.settings.strict and passed and self._troubles():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary: nothing, one line, or the culprits."""
        if not self._anything_to_say():
            return
        lines = self._report().lines
        if len(lines) > 1:
            terminalreporter.section("compile cache")
        for line in lines:
            prefix = "compilecache: " if len(lines) == 1 else ""
            terminalreporter.write_line(prefix + line.text, **_TONES[line.tone])

    def _report(self) -> Report:
        from pytest_compilecache.report.figures import SessionFigures  # noqa: PLC0415
        from pytest_compilecache.report.files import Report  # noqa: PLC0415
        from pytest_compilecache.report.terminal import summary  # noqa: PLC0415

        figures, outcome = self._collecting.figures or SessionFigures(), self._outcome()
        return Report(figures, outcome, tuple(summary(figures, outcome)))

    def _write(self, path: Path) -> None:
        from pytest_compilecache.cache import trouble  # noqa: PLC0415
        from pytest_compilecache.report.files import write_report  # noqa: PLC0415

        try:
            write_report(path, self._report())
        except OSError as error:
            self._unwritten.append(trouble(path, error))

    def _anything_to_say(self) -> bool:
        session = self._collecting.session
        compiled = session.engine is not None or self._collecting.figures is not None
        collecting = self._collecting
        troubles = (session.failures, collecting.worker_troubles, self._unwritten)
        return compiled or any((*troubles, collecting.one_way))

    def _troubles(self) -> tuple[Trouble, ...]:
        from pytest_compilecache.cache import Trouble, trouble  # noqa: PLC0415

        session = self._collecting.session
        if session.engine is not None:
            found = session.engine.troubles()
        else:
            found = tuple(trouble(subject, error) for subject, error in session.failures)
        workers = (Trouble(**values) for values in self._collecting.worker_troubles)
        return tuple(dict.fromkeys((*found, *workers, *self._unwritten)))

    def _outcome(self) -> Outcome:
        from pytest_compilecache.report.terminal import Outcome  # noqa: PLC0415

        session = self._collecting.session
        engine = session.engine
        return Outcome(
            restored=engine.restored if engine else None,
            saved=engine.saved if engine else None,
            unsaved=engine.unsaved if engine and session.settings.store else "",
            store=session.settings.store,
            troubles=self._troubles(),
            one_way=tuple(dict.fromkeys(self._collecting.one_way)),
        )
