"""The plugin changes what the table of ``allowed.py`` lists, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.differential.allowed import ROWS, Row, row_of
from tests.differential.comparing import Difference, differences
from tests.differential.sessions import COLD, CORPUS, SESSIONS, WARM, WITHOUT, Runs, run_three_times

NAMES = [session.name for session in SESSIONS]

pytestmark = pytest.mark.skipif(
    os.environ.get("COMPILECACHE_TESTS") != "soak",
    reason="takes ten minutes; set COMPILECACHE_TESTS=soak",
)


@dataclass(frozen=True)
class Compared:
    """A session's runs, and in what they differ."""

    runs: Runs
    differences: tuple[Difference, ...]


@pytest.fixture(scope="module")
def compared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Compared]]]:
    """The sessions that this run asks for, two at a time where no other worker compiles."""
    asked = {
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
        if hasattr(item, "callspec") and "name" in item.callspec.params
    }
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    with ThreadPoolExecutor(2 if alone else 1) as pool:
        yield {
            session.name: pool.submit(compare, session, tmp_path_factory.mktemp(session.name))
            for session in SESSIONS
            if session.name in asked
        }


def compare(session, root) -> Compared:
    runs = run_three_times(session, root)
    found = (
        difference
        for run in (COLD, WARM)
        for difference in differences(session.name, run, runs.shown[WITHOUT], runs.shown[run])
    )
    return Compared(runs, tuple(found))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_only_what_the_table_lists_is_changed(compared: dict[str, Future[Compared]], name: str):
    unlisted = [str(each) for each in compared[name].result().differences if not row_of(each)]
    assert not unlisted, "\n".join(unlisted)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_runs_are_worth_comparing(compared: dict[str, Future[Compared]], name: str):
    """A session in which nothing ran would differ in nothing."""
    runs = compared[name].result().runs
    for session in runs.shown[WITHOUT]["sessions"]:
        ran = [key for key in session["outcomes"] if key.endswith((" call", " setup", " collect"))]
        assert ran or session["exit"] in {"0", "5"}, runs.printed[WITHOUT]
        assert not session["during"].get("finder pytest_compilecache.import_hook.ImportHook")


@pytest.mark.slow
def test_every_row_of_the_table_is_met(
    compared: dict[str, Future[Compared]], request: pytest.FixtureRequest
):
    missing = set(NAMES) - set(compared)
    if missing:
        pytest.skip(f"not run: {', '.join(sorted(missing))}")
    met: set[Row] = set()
    for each in compared.values():
        met.update(row for one in each.result().differences if (row := row_of(one)))
    unmet = [row.what for row in ROWS if row not in met]
    assert not unmet, f"no run shows these rows, so they go: {unmet}"


def test_corpus_has_forty_four_suites_and_all_of_them_run():
    folders = {path.parent.name for path in CORPUS.rglob("test_*.py")}
    assert folders == {part[0] for session in SESSIONS for part in session.parts}
    assert len(list(CORPUS.rglob("test_*.py"))) >= 44
