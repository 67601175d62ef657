"""Saves at the end of a session and prints what happened. Only in the process that reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_compilecache.plugin import options
from pytest_compilecache.plugin.collecting import Collecting

if TYPE_CHECKING:
    from pytest_compilecache.report.terminal import Outcome

_TONES: dict[str, dict[str, bool]] = {"good": {"green": True}, "plain": {}, "bad": {"yellow": True}}


class Reporting:
    """The header, the save and the summary."""

    def __init__(self, config: pytest.Config, collecting: Collecting) -> None:
        self._config = config
        self._collecting = collecting

    def pytest_report_header(self) -> list[str]:
        """What is in force, where it matters."""
        session = self._collecting.session
        if not (session.torch_seen or options.given(self._config) or session.settings.origins):
            return []
        environment = session.environment.id if session.environment else "unknown"
        parts = [f"environment {environment}"]
        if session.workspace is not None and session.workspace.note:
            parts.append(session.workspace.note)
        if session.settings.store:
            parts.append(f"store {session.settings.store}, save {session.settings.save}")
        if session.variables.sets("TORCHINDUCTOR_CPP_DYNAMIC_THREADS"):
            parts.append("TORCHINDUCTOR_CPP_DYNAMIC_THREADS=1 is set")
        return ["compilecache: " + "; ".join(parts)]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Save what is new; under strictness, let trouble fail the session."""
        self._collecting.close()
        ours = self._collecting.session
        ours.finish()
        failed = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
        if ours.settings.strict and ours.all_troubles() and failed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary: nothing, one line, or the culprits."""
        from pytest_compilecache.report.terminal import summary  # noqa: PLC0415

        lines = summary(self._collecting.figures, self._outcome())
        if len(lines) > 1:
            terminalreporter.section("compile cache")
        for line in lines:
            prefix = "compilecache: " if len(lines) == 1 else ""
            terminalreporter.write_line(prefix + line.text, **_TONES[line.tone])

    def _outcome(self) -> Outcome:
        from pytest_compilecache.report.terminal import Outcome  # noqa: PLC0415

        session = self._collecting.session
        reason = "" if session.may_save else session.trust.reason or "--compilecache-save=never"
        return Outcome(
            restored=session.restored,
            saved=session.saved,
            unsaved=reason if session.settings.store else "",
            store=session.settings.store,
            troubles=session.all_troubles(),
        )
