"""Many processes save to one store, others read and prune it: nothing is lost, nobody fails."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_compilecache.limits import Limits
from pytest_compilecache.store import DirectoryStore
from pytest_compilecache.store.check import check
from tests.crash.artifacts import names
from tests.crash.extent import SOAK
from tests.stateful.racing import STORE, check_union, race

SAVERS, SAVES, OTHERS = (8, 50, 2) if SOAK else (3, 8, 1)
# Without grace: whatever was taken over is deleted while others may still read it.
RACE = {"fan": 3, "grace_seconds": 0.0, "free_bytes": 0}


@pytest.mark.parametrize("kernel_locks", [True, False], ids=["kernel locks", "leases"])
def test_racing_savers_lose_nothing_and_nobody_is_told_of_an_error(
    folder: Path, kernel_locks: bool
):
    told = race(
        folder, SAVERS, SAVES, readers=OTHERS, pruners=OTHERS, kernel_locks=kernel_locks, **RACE
    )
    assert told.troubles == []
    assert all(each["turns"] for each in told.readers)
    assert sum(each["deleted"] for each in told.pruners), "nothing was pruned: this shows little"
    check_union(folder, told.saved, Limits(**RACE))
    result = check(DirectoryStore(folder / STORE))
    assert result.ok, result.findings
    # By how much depends on who came when; that merges keep packs few is a test of its own.
    assert result.packs < SAVERS * SAVES, "nothing was merged: this shows little"


def test_no_more_processes_write_at_once_than_are_allowed(folder: Path):
    told = race(folder, 4, 4, concurrent_saves=2, **RACE)
    assert told.troubles == []
    assert told.observer["staged"] in {1, 2}


def test_racing_savers_stay_below_the_limit_on_the_store_at_any_time(folder: Path):
    # Nothing is old enough to make room, so that what is seen in passing adds up.
    told = race(folder, 4, 8, store_bytes=300_000, fan=100, free_bytes=0)
    assert told.troubles, "the limit was not reached"
    assert 200_000 < told.observer["size"] <= 300_000
    assert check(DirectoryStore(folder / STORE)).ok


SUITE = """
    import pytest
    from pathlib import Path
    from pytest_compilecache.limits import Limits
    from tests.crash.artifacts import names
    from tests.stateful.racing import complaints, make, restore_on, save_on

    FOLDER = Path({folder!r})
    LIMITS = Limits(**{limits!r})

    @pytest.mark.parametrize("number", range({tests}))
    @pytest.mark.parametrize("machine", ["shared", None])
    def test_save(number, machine, worker_id):
        machine = machine or worker_id
        make(FOLDER, machine, names("s", 2, first=number) + names(f"m{{machine}}", 1, first=number))
        assert complaints(save_on(FOLDER, machine, LIMITS)) == []
        assert complaints(restore_on(FOLDER, worker_id, LIMITS)) == []
"""


def test_workers_of_one_session_lose_nothing(folder: Path, tmp_path: Path):
    tests = 40 if SOAK else 6
    suite = SUITE.format(folder=str(folder), limits=RACE, tests=tests)
    (tmp_path / "test_suite.py").write_text(textwrap.dedent(suite))
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-n", "3", "-q", "-p", "no:compilecache"]
    project = str(Path(__file__).parents[2])
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": project},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{2 * tests} passed" in run.stdout
    made = {path for number in range(tests) for path in names("s", 2, first=number)}
    made |= {path for number in range(tests) for path in names("mshared", 1, first=number)}
    check_union(folder, made, Limits(**RACE))
    assert check(DirectoryStore(folder / STORE)).ok
