"""What a test's marks ask of its run: fallback mode, contracts, compiled or eager.

Logic is elsewhere; these hooks bring it to the test that runs.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import pytest

from pytest_compilecache.compiling.contracts import Contracts
from pytest_compilecache.plugin.collecting import Collecting
from pytest_compilecache.plugin.marks import Marked, is_marked, marked
from pytest_compilecache.plugin.policy import FallbackPolicy

WAY = "compilecache_way"
EAGER = "eager"
CONTRACTS = pytest.StashKey[Contracts]()
BREACHES = pytest.StashKey[list[str]]()


class Conduct:
    """Hooks around tests.

    Args:
        collecting: Knows what a test compiled.
        policy: Judges failures to compile.
    """

    def __init__(self, collecting: Collecting, policy: FallbackPolicy) -> None:
        self._collecting = collecting
        self._session = collecting.session
        self._policy = policy

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Bring the marks in force."""
        found = marked(item) if is_marked(item) else None
        self._session.eager = self._runs_eager(item, found)
        mode = found.fallback if found else None
        self._policy.begin(item, mode)
        contracts = found.contracts if found else Contracts()
        if (mode or self._policy.default) == "fail":
            contracts = replace(contracts, never_eager=True)
        item.stash[CONTRACTS] = contracts
        # Of a test that asks for nothing of ours, torch decides the outcome.
        guard = found is not None or self._session.guards_plain_calls
        self._collecting.begin_test(contracts, guard=guard)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test that passed and broke a contract; of one that failed, tell it as well."""
        try:
            result = yield
        except BaseException:
            item.stash[BREACHES] = self._breaches(item)
            raise
        breaches = item.stash[BREACHES] = self._breaches(item)
        if breaches:
            pytest.fail("\n".join((f"{_title(breaches)}:", *breaches)), pytrace=False)
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show the broken contracts of a test that failed for another reason."""
        report = yield
        breaches = item.stash.get(BREACHES, []) if call.when == "call" else []
        if report.failed and breaches and breaches[0] not in report.longreprtext:
            report.sections.append((_title(breaches), "\n".join(breaches)))
        return report

    def _breaches(self, item: pytest.Item) -> list[str]:
        contracts = item.stash.get(CONTRACTS, Contracts())
        if not contracts.any or self._session.eager:
            return []
        return contracts.breaches(self._collecting.record_so_far(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        """Leave nothing of a test in force."""
        try:
            return (yield)
        finally:
            self._policy.end()

    def _runs_eager(self, item: pytest.Item, found: Marked | None) -> bool:
        way = self._session.settings.run if self._session.configured else "compiled"
        if way == "eager":
            return True
        if found is None or way == "compiled":
            return False
        call = getattr(item, "callspec", None)
        chosen = call.params.get(WAY) if call is not None else None
        if chosen is None:
            self._collecting.one_way.append(item.nodeid)
        return chosen == EAGER


def _title(breaches: list[str]) -> str:
    return "broken contract" if len(breaches) == 1 else "broken contracts"


def both_ways(metafunc: pytest.Metafunc) -> None:
    """Collect a marked test twice, eager and compiled."""
    if metafunc.definition.get_closest_marker("compiled") is not None:
        metafunc.fixturenames.append(WAY)
        metafunc.parametrize(WAY, (EAGER, "compiled"), indirect=True)
