"""Everything that waits ends in seconds: nothing is half written, and what is missing is named."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_compilecache.cache import OperationStatus, save
from pytest_compilecache.limits import DAY, Limits
from pytest_compilecache.store import DirectoryStore
from pytest_compilecache.store.check import check
from pytest_compilecache.store.prune import prune
from pytest_compilecache.store.turns import Turns
from pytest_compilecache.workspace.evict import evict
from pytest_compilecache.workspace.place import STAMP
from pytest_compilecache.workspace.sharing import SharedWorkspace, restoring_turn
from tests.unit.machine import ENVIRONMENT, LIMITS, Place, age, packs

SECONDS = 120


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def here(tmp_path) -> Place:
    return Place(tmp_path / "here")


@pytest.fixture
def slow(monkeypatch):
    """Let each look at the clock take a second."""
    looks = itertools.count(time.monotonic())
    monkeypatch.setattr(time, "monotonic", lambda: float(next(looks)))


def saved_in_time(here: Place, store: Path, seconds: float):
    return save(here.workspace, ENVIRONMENT, str(store), replace(LIMITS, save_seconds=seconds))


def test_a_save_that_reaches_its_limit_publishes_what_it_has_and_the_next_goes_on(
    here, store, slow
):
    for number in range(40):
        here.write(f"file-{number:02}")
    first = saved_in_time(here, store, 70)
    assert first.status is OperationStatus.ERROR
    assert 0 < first.files < 40
    assert first.files + len(first.left_out) == 40
    (trouble,) = first.troubles
    assert trouble.subject == f"{len(first.left_out)} files"
    assert "(70 s)" in trouble.reason
    assert trouble.remedy
    assert check(DirectoryStore(store)).ok
    last = saved_in_time(here, store, 10_000)
    assert (last.status, last.files) == (OperationStatus.SUCCESS, len(first.left_out))


@pytest.mark.parametrize("seconds", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
def test_wherever_the_limit_is_reached_the_store_is_whole_and_nothing_is_forgotten(
    here, store, slow, seconds
):
    for number in range(6):
        here.write(f"file-{number}")
    result = saved_in_time(here, store, seconds)
    assert result.status is (
        OperationStatus.SUCCESS if result.files == 6 else OperationStatus.ERROR
    )
    assert result.files == 6 or f"{seconds} s" in str(result.troubles)
    assert check(DirectoryStore(store)).ok
    assert not list(store.glob("tmp/*.staged"))
    assert saved_in_time(here, store, 10_000).status in {
        OperationStatus.SUCCESS,
        OperationStatus.SKIPPED,
    }
    assert save(here.workspace, ENVIRONMENT, str(store)).status is OperationStatus.SKIPPED


def test_a_store_that_others_write_to_is_waited_for_no_longer_than_the_save_may_take(here, store):
    here.write("a")
    limits = replace(LIMITS, concurrent_saves=1, lock_seconds=600, save_seconds=0.3)
    with DirectoryStore(store, limits).stage():
        started = time.monotonic()
        result = here.save(store, limits)
    assert time.monotonic() - started < 5
    assert result.status is OperationStatus.ERROR
    assert "none has finished" in result.troubles[0].reason


def test_a_turn_that_is_a_lease_of_hours_is_not_waited_for_either(tmp_path):
    tmp_path.joinpath("lease-seconds").write_text("7200.0")
    deadline = time.monotonic() + 0.2
    turns = Turns(tmp_path, 30, kernel=False, mode=0o600, deadline=deadline)
    with turns.take("save", 1, "store"), pytest.raises(TimeoutError, match="none has finished"):
        Turns(tmp_path, 30, kernel=False, mode=0o600, deadline=deadline).take(
            "save", 1, "store"
        ).__enter__()
    assert time.monotonic() < deadline + 5


def test_a_prune_that_reaches_its_limit_says_so_and_deletes_no_more(here, store, slow):
    for number in range(10):
        here.write(f"file-{number}")
        here.save(store, replace(LIMITS, fan=100, save_seconds=10_000))
    age(store, 60 * DAY)
    first = prune(DirectoryStore(store), LIMITS, deadline=time.monotonic() + 6)
    assert not first.finished
    assert 0 < len(first.deleted) < 10
    assert "was not finished within" in first.troubles[-1]
    assert len(packs(store)) == first.kept == 10 - len(first.deleted)
    assert prune(DirectoryStore(store), LIMITS).finished
    assert packs(store) == []


def test_an_eviction_that_reaches_its_limit_says_so_and_deletes_no_more(here, slow):
    for number in range(10):
        here.write(f"file-{number}")
    (here.workspace.inductor / STAMP).write_text(here.workspace.root.name)
    evicted = evict(here.workspace, Limits(workspace_bytes=0, save_seconds=8))
    assert 0 < evicted.files < 10
    assert len(here.files()) == 10 - evicted.files
    (trouble,) = evicted.troubles
    assert "was not finished within 8 s" in trouble.reason
    assert trouble.remedy


def test_a_hanging_restore_is_waited_for_some_seconds_inside_an_import(here):
    with FileLock(here.workspace.state / "restore.lock"):
        started = time.monotonic()
        with restoring_turn(here.workspace, 0.1):
            pass
        assert time.monotonic() - started < 5
    assert restoring_turn.__wrapped__.__defaults__[0] <= 10
    assert SharedWorkspace.__init__.__defaults__[-1] <= 5
    assert Limits().save_seconds == SECONDS


def test_what_a_save_saw_spares_eviction_a_second_walk(here, store, monkeypatch):
    here.write("a", os.urandom(1000))
    (here.workspace.inductor / "ab" / "kernel.o").write_bytes(b"x" * 500)
    (here.workspace.inductor / "fxgraph").mkdir()
    (here.workspace.inductor / "fxgraph" / "unguarded").write_bytes(b"x" * 300)
    (here.workspace.inductor / STAMP).write_text(here.workspace.root.name)
    found = here.save(store).workspace_bytes
    assert 1800 <= found <= 1900
    walked = evict(here.workspace, Limits(workspace_bytes=1 << 30))
    assert walked.kept <= found
    limits = Limits(workspace_bytes=found)
    monkeypatch.setattr(
        "pytest_compilecache.workspace.evict._survey", lambda *_: pytest.fail("it walked again")
    )
    assert evict(here.workspace, limits, at_most=found).kept == found
    monkeypatch.undo()
    assert evict(here.workspace, replace(limits, workspace_bytes=900), at_most=found).files
