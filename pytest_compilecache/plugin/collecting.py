"""Records what each phase of each test compiled and brings it to the process that reports.

Records travel as an attribute of the test reports, which xdist carries.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from pytest_compilecache.compiling.events import CompileRecord
from pytest_compilecache.plugin.session import CompileSession
from pytest_compilecache.report.figures import SessionFigures

_ATTRIBUTE = "compilecache"
RECORD = pytest.StashKey[CompileRecord]()


class Collecting:
    """Hooks around tests."""

    def __init__(self, session: CompileSession) -> None:
        self.session = session
        self.figures = SessionFigures()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Give the test its own recompile limit; what was compiled before it is not its own."""
        del item
        record = self._drain()
        if record is not None:
            self.figures.add_outside(record)
        self.session.recorder.fresh = False
        self.session.budget.renew()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach what the phase compiled to its report."""
        del call
        report = yield
        record = self._drain()
        so_far = item.stash.get(RECORD, None)
        if so_far is not None:
            # A test asked for its figures while it ran.
            del item.stash[RECORD]
            record = so_far + (record or CompileRecord())
        if record is not None:
            setattr(report, _ATTRIBUTE, record.to_mapping())
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a report's record, from here or from a worker."""
        values: dict[str, Any] | None = getattr(report, _ATTRIBUTE, None)
        if values is not None:
            self.figures.add(report.nodeid, CompileRecord.from_mapping(values))

    def record_so_far(self, item: pytest.Item) -> CompileRecord:
        """What the running phase of a test compiled until now."""
        record = item.stash.get(RECORD, CompileRecord()) + (self._drain() or CompileRecord())
        item.stash[RECORD] = record
        return record

    def close(self) -> None:
        """Note what was compiled after the last test."""
        record = self._drain()
        if record is not None:
            self.figures.add_outside(record)

    def _drain(self) -> CompileRecord | None:
        record = self.session.recorder.drain()
        if record is not None:
            self.session.budget.spend(record.graphs, limit_hit=bool(record.count("limit")))
        return record
