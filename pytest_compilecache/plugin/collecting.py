"""Records what each phase of each test compiled and brings it to the process that reports.

Records travel as an attribute of the test reports, which xdist carries. Until
torch is imported, every hook here returns at its first line.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_compilecache.plugin.session import CompileSession

if TYPE_CHECKING:
    from pytest_compilecache.compiling.contracts import Contracts
    from pytest_compilecache.compiling.events import CompileRecord
    from pytest_compilecache.report.figures import SessionFigures

_ATTRIBUTE = "compilecache"


class Collecting:
    """Hooks around tests.

    Attributes:
        session: The cache in this process.
        figures: What was compiled, or None while nothing was.
        workers_compiled: Whether a worker imported torch.
        worker_troubles: What went wrong in workers, as plain values.
        one_way: Tests that could not be run both ways.
    """

    def __init__(self, session: CompileSession) -> None:
        self.session = session
        self.figures: SessionFigures | None = None
        self.workers_compiled = False
        self.worker_troubles: list[dict[str, str]] = []
        self.one_way: list[str] = []
        self._so_far: dict[str, CompileRecord] = {}
        self._earlier: dict[str, CompileRecord] = {}

    def begin_test(self, contracts: Contracts, *, guard: bool) -> None:
        """A test is set up; what was compiled before it is not its own."""
        engine = self.session.engine
        if engine is not None:
            self.add_outside(engine.drain())
            engine.begin_test(contracts, guard=guard)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach what the phase compiled to its report."""
        report = yield
        if self.session.engine is not None:
            so_far = self._so_far.pop(item.nodeid, None)
            record = self.session.engine.drain()
            if so_far is not None:
                record = so_far if record is None else so_far + record
            if record is not None:
                setattr(report, _ATTRIBUTE, record.to_mapping())
                earlier = self._earlier.get(item.nodeid)
                self._earlier[item.nodeid] = record if earlier is None else earlier + record
            if report.when == "teardown":
                self._earlier.pop(item.nodeid, None)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a report's record, from here or from a worker."""
        values: dict[str, Any] | None = getattr(report, _ATTRIBUTE, None)
        if values is not None:
            from pytest_compilecache.compiling.events import CompileRecord  # noqa: PLC0415

            self._figures().add(report.nodeid, CompileRecord.from_mapping(values))

    def record_so_far(self, item: pytest.Item) -> CompileRecord:
        """What a running test compiled until now, its setup included."""
        from pytest_compilecache.compiling.events import CompileRecord  # noqa: PLC0415

        engine = self.session.engine
        news = engine.drain() if engine is not None else None
        record = self._so_far.get(item.nodeid, CompileRecord()) + (news or CompileRecord())
        self._so_far[item.nodeid] = record
        return self._earlier.get(item.nodeid, CompileRecord()) + record

    def add_outside(self, record: CompileRecord | None) -> None:
        """Add what was compiled outside of tests."""
        if record is not None:
            self._figures().add_outside(record)

    def close(self) -> None:
        """Note what was compiled after the last test, and what was used."""
        if self.session.engine is not None:
            self.add_outside(self.session.engine.drain())
            self.session.engine.close()

    def _figures(self) -> SessionFigures:
        if self.figures is None:
            from pytest_compilecache.report.figures import SessionFigures  # noqa: PLC0415

            self.figures = SessionFigures()
        return self.figures
