"""What happens around tests: marks come into force, and what is compiled is recorded.

Records travel as an attribute of the test reports, which xdist carries. Until torch is
imported, every hook here returns at its first lines.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_compilecache.errors import CompileFallbackError, CompileFallbackWarning
from pytest_compilecache.plugin.session import CompileSession

if TYPE_CHECKING:
    from pytest_compilecache.compiling.events import CompileRecord
    from pytest_compilecache.compiling.failures import Failure
    from pytest_compilecache.compiling.testrun import TestRun
    from pytest_compilecache.plugin.marks import Marked
    from pytest_compilecache.report.figures import SessionFigures
    from pytest_compilecache.settings import FallbackMode

WAY = "compilecache_way"
EAGER = "eager"
_ATTRIBUTE = "compilecache"
_REMEDY = "fallback='fail' makes this a failure"


class Testing:
    """Hooks around tests.

    Attributes:
        session: The cache in this process.
        figures: What was compiled, or None while nothing was.
        workers_compiled: Whether a worker imported torch.
        worker_troubles: What went wrong in workers, as plain values.
        one_way: Tests that could not be run both ways.
    """

    __test__ = False  # it is no test class

    def __init__(self, session: CompileSession) -> None:
        self.session = session
        self.figures: SessionFigures | None = None
        self.workers_compiled = False
        self.worker_troubles: list[dict[str, str]] = []
        self.one_way: list[str] = []
        self.toolchain_warned = False
        self._item: pytest.Item | None = None
        session.on_torch = self.torch_is_here

    # --- a test's life -------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Bring the marks in force."""
        self.session.guard.call("pytest_runtest_setup", self._begin, item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, object, object]:
        """Fail a test that passed and broke a contract; of one that failed, report it as well."""
        try:
            result = yield
        finally:
            breaches = self.session.guard.call("pytest_runtest_call", self._judge)
        if breaches:
            pytest.fail("\n".join((f"{_title(breaches)}:", *breaches)), pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach what the phase compiled, and the broken contracts of a test that failed."""
        report = yield
        self.session.guard.call("pytest_runtest_makereport", self._attach, report, call.when)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """Leave nothing of a test in force."""
        try:
            return (yield)
        finally:
            self.session.guard.call("pytest_runtest_teardown", self._end)
            if self.session.guard.off:  # a fixture of ours may still have been used
                with contextlib.suppress(Exception):
                    self.session.end_test()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a report's record, from here or from a worker."""
        self.session.guard.call("pytest_runtest_logreport", self._add, report)

    def _begin(self, item: pytest.Item) -> None:
        self._item = item
        found = _marked(item)
        eager = self._runs_eager(item, found)
        if self.session.watching or found or eager:
            self.add_outside(self.session.drain())
            self.session.recorder.fresh = False
            self.session.run = self._new_run(item, found, eager=eager)
            self.session.run.begin()

    def torch_is_here(self) -> None:
        """Torch compiles, perhaps first in the running test: what it asks for comes into force."""
        if self._item is not None:
            self.running(self._item)

    def running(self, item: pytest.Item) -> TestRun:
        """What is known of the running test."""
        if self.session.run is None:
            self.session.run = self._new_run(item, _marked(item), eager=False)
        self.session.run.begin()
        return self.session.run

    def _new_run(self, item: pytest.Item, found: Marked | None, *, eager: bool) -> TestRun:
        from pytest_compilecache.compiling.hooks import HOOKS  # noqa: PLC0415

        settings = self.session.settings if self.session.configured else None
        mode = (found.fallback if found else None) or (settings.fallback if settings else None)
        contracts = found.contracts if found else None
        if mode == "fail":
            from pytest_compilecache.compiling.contracts import Contracts  # noqa: PLC0415

            contracts = replace(contracts or Contracts(), never_eager=True)
        isolation = (found.isolation if found else None) or (
            settings.isolation if settings else "none"
        )
        return HOOKS.new_test(
            functools.partial(self._deal_with, item, mode or "eager"),
            contracts,
            guarded=found is not None or self.session.falls_back,
            isolation=isolation,
            eager=eager,
        )

    def _judge(self) -> list[str]:
        run = self.session.run
        if run is None or run.contracts is None or not run.contracts.any or run.eager:
            return []
        run.breaches = run.contracts.breaches(self.record_so_far())
        return run.breaches

    def _attach(self, report: pytest.TestReport, when: str) -> None:
        run = self.session.run
        if run is None:
            record = self.session.drain()
        else:
            record = self._phase_so_far() if self.session.watching else None
            shown = report.longreprtext if when == "call" and report.failed else ""
            if run.breaches and shown and run.breaches[0] not in shown:
                report.sections.append((_title(run.breaches), "\n".join(run.breaches)))
            run.earlier, run.phase = run.so_far, type(run.phase)()
        if when == "teardown":
            self._item = self.session.run = None
        if record is not None and (record.compiled or record.fresh):
            setattr(report, _ATTRIBUTE, record.to_mapping())

    def _end(self) -> None:
        run = self.session.run
        if run is not None:
            run.end()

    def _add(self, report: pytest.TestReport) -> None:
        values: dict[str, Any] | None = getattr(report, _ATTRIBUTE, None)
        if values is not None:
            from pytest_compilecache.compiling.events import CompileRecord  # noqa: PLC0415

            self._figures().add(report.nodeid, CompileRecord.from_mapping(values))

    # --- what a test compiled ------------------------------------------------------

    def record_so_far(self) -> CompileRecord:
        """What the running test compiled until now, its setup included."""
        from pytest_compilecache.compiling.events import CompileRecord  # noqa: PLC0415

        self._phase_so_far()
        run = self.session.run
        return run.so_far if run is not None else CompileRecord()

    def _phase_so_far(self) -> CompileRecord | None:
        run, news = self.session.run, self.session.drain()
        if run is None:
            return news
        if news is not None:
            run.phase += news
        return run.phase

    def add_outside(self, record: CompileRecord | None) -> None:
        """Add what was compiled outside of tests."""
        if record is not None:
            self._figures().add_outside(record)

    def close(self) -> None:
        """Note what was compiled after the last test, and what was used."""
        self._item = self.session.run = None
        self.add_outside(self.session.drain())
        if self.session.started:
            self.session.process.flush()

    def _figures(self) -> SessionFigures:
        if self.figures is None:
            from pytest_compilecache.report.figures import SessionFigures  # noqa: PLC0415

            self.figures = SessionFigures()
        return self.figures

    # --- compiled or eager ---------------------------------------------------------

    def _runs_eager(self, item: pytest.Item, found: Marked | None) -> bool:
        way = self.session.settings.run if self.session.configured else "compiled"
        if way == EAGER:
            return True
        if found is None or way == "compiled":
            return False
        call = getattr(item, "callspec", None)
        chosen = call.params.get(WAY) if call is not None else None
        if chosen is None:
            self.one_way.append(item.nodeid)
        return chosen == EAGER

    # --- what does not compile -----------------------------------------------------

    def _deal_with(self, item: pytest.Item, mode: FallbackMode, failure: Failure) -> None:
        """Let a failure to compile mean what the test's mark says.

        Raises:
            BaseException: What torch raised, ``CompileFallbackError`` where a failure of an
                earlier test is met again, a skip, or an expected failure.
        """
        if mode == "fail":
            raise failure.error or CompileFallbackError(
                failure.function or "a graph",
                f"ran eager: {failure.reason}",
                "as in an earlier test",
            )
        reason = f"did not compile: {failure}"
        if mode == "skip":
            raise _skipped(reason)
        if mode == "xfail":
            pytest.xfail(reason)
        self._warn(item, failure)

    def _warn(self, item: pytest.Item, failure: Failure) -> None:
        run = self.session.run
        if failure.toolchain:  # one fault of the machine, however many tests meet it
            if not self.toolchain_warned:
                self.toolchain_warned = True
                text = f"everything that must be compiled runs eager: {failure.reason}"
                if self.session.is_first_to("warn-of-the-toolchain"):
                    self._emit(item, CompileFallbackWarning(text))
        elif run is None or not run.warned:
            text = f"did not compile and ran eager: {failure}. {_REMEDY}."
            self._emit(item, CompileFallbackWarning(text))
            if run is not None:
                run.warned = True

    def _emit(self, item: pytest.Item, warning: CompileFallbackWarning) -> None:
        if self.session.run is not None:
            item.warn(warning)
        else:
            warnings.warn(warning, stacklevel=2)


def _marked(item: pytest.Item) -> Marked | None:
    if item.get_closest_marker("compiled") is None:
        return None  # most tests are not, and need not load what reads the mark
    from pytest_compilecache.plugin.marks import is_marked, marked  # noqa: PLC0415

    return marked(item) if is_marked(item) else None


def _skipped(reason: str) -> BaseException:
    """A skip that pytest reports at the test, and not at the line here that raises it."""
    try:
        return pytest.skip.Exception(reason, _use_item_location=True)
    except TypeError:  # the argument is pytest's own
        return pytest.skip.Exception(reason)


def _title(breaches: list[str]) -> str:
    return "broken contract" if len(breaches) == 1 else "broken contracts"


def both_ways(metafunc: pytest.Metafunc) -> None:
    """Collect a marked test twice, eager and compiled."""
    from pytest_compilecache.plugin.marks import is_marked  # noqa: PLC0415

    if is_marked(metafunc.definition):
        metafunc.fixturenames.append(WAY)
        metafunc.parametrize(WAY, (EAGER, "compiled"), indirect=True)
