"""Saves at the end of a session and prints what happened. Only in the process that reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_compilecache.plugin import options
from pytest_compilecache.plugin.testing import Testing

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_compilecache.report.files import Report
    from pytest_compilecache.report.terminal import Line, Outcome
    from pytest_compilecache.results import Trouble

_TONES: dict[str, dict[str, bool]] = {"good": {"green": True}, "plain": {}, "bad": {"yellow": True}}


class Reporting:
    """The header, the save and the summary."""

    def __init__(self, config: pytest.Config, testing: Testing) -> None:
        self._config = config
        self._testing = testing
        self._unwritten: list[Trouble] = []

    def pytest_report_header(self) -> list[str]:
        """What is in force, once torch is loaded or a setting is given."""
        return self._testing.session.guard.call("pytest_report_header", self._header) or []

    def _header(self) -> list[str]:
        session = self._testing.session
        if not (session.started or session.configured or options.given(self._config)):
            return []
        if session.collect_only:
            return []
        settings, site = session.settings, session.site()
        parts = [f"environment {site.environment.id if site else 'unknown'}"]
        if site is not None and site.unshared:
            parts.append(site.unshared)
        if settings.store:
            parts.append(f"store {settings.store} (save: {settings.save})")
        parts += [
            f"--compilecache-{name}={getattr(settings, name)}"
            for name in ("run", "fallback", "isolation")
            if name in settings.origins
        ]
        return ["compilecache: " + "; ".join(parts)]

    def finish(self, session: pytest.Session) -> None:
        """Save what is new; under strictness, what went wrong fails the session."""
        ours = self._testing.session
        ours.guard.call("pytest_sessionfinish", self._finish)
        passed = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
        if ours.configured and ours.settings.strict and passed and self._troubles():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _finish(self) -> None:
        ours = self._testing.session
        self._testing.close()
        compiled = self._testing.workers_compiled or self._testing.figures is not None
        ours.finish(workers_compiled=compiled)
        if ours.configured and ours.settings.report is not None:
            self._write(ours.settings.report)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary: nothing, one line, or the culprits."""
        guard = self._testing.session.guard
        lines = guard.call("pytest_terminal_summary", self._lines)
        if lines is None:  # off: what went wrong is still to be reported
            lines = self._warnings()
        if len(lines) > 1:
            terminalreporter.section("compile cache")
        for line in lines:
            prefix = "compilecache: " if len(lines) == 1 else ""
            terminalreporter.write_line(prefix + line.text, **_TONES[line.tone])

    def _lines(self) -> tuple[Line, ...]:
        return self._report().lines if self._anything_to_say() else ()

    def _warnings(self) -> tuple[Line, ...]:
        from pytest_compilecache.report.terminal import Line  # noqa: PLC0415

        return tuple(Line(f"warning: {each}", "bad") for each in self._troubles())

    def _report(self) -> Report:
        from pytest_compilecache.report.figures import SessionFigures  # noqa: PLC0415
        from pytest_compilecache.report.files import Report  # noqa: PLC0415
        from pytest_compilecache.report.terminal import summary  # noqa: PLC0415

        figures, outcome = self._testing.figures or SessionFigures(), self._outcome()
        return Report(figures, outcome, tuple(summary(figures, outcome)))

    def _write(self, path: Path) -> None:
        from pytest_compilecache.report.files import write_report  # noqa: PLC0415
        from pytest_compilecache.results import trouble  # noqa: PLC0415

        try:
            write_report(path, self._report())
        except OSError as error:
            self._unwritten.append(trouble(path, error))

    def _anything_to_say(self) -> bool:
        testing, session = self._testing, self._testing.session
        compiled = session.started or testing.figures is not None
        troubles = (session.has_failures, testing.worker_troubles, self._unwritten)
        return compiled or any((*troubles, testing.one_way))

    def _troubles(self) -> tuple[Trouble, ...]:
        from pytest_compilecache.results import Trouble  # noqa: PLC0415

        found = self._testing.session.troubles()
        workers = (Trouble(**values) for values in self._testing.worker_troubles)
        return tuple(dict.fromkeys((*found, *workers, *self._unwritten)))

    def _outcome(self) -> Outcome:
        from pytest_compilecache.report.terminal import Outcome  # noqa: PLC0415

        session = self._testing.session
        compiled = session.started or self._testing.workers_compiled
        return Outcome(
            restored=session.restored,
            saved=session.saved,
            unsaved=session.unsaved if compiled and session.settings.store else "",
            store=session.settings.store,
            troubles=self._troubles(),
            one_way=tuple(dict.fromkeys(self._testing.one_way)),
        )
