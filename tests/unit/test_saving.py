"""Restore and save on a real folder, with artifacts that are only bytes."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus, save
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import DAY
from pytest_compilecache.store import DirectoryStore
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.check import check
from pytest_compilecache.store.prune import prune
from tests.unit.machine import ENVIRONMENT, LIMITS, Place, age, packs


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def here(tmp_path) -> Place:
    return Place(tmp_path / "here")


@pytest.fixture
def there(tmp_path) -> Place:
    return Place(tmp_path / "there")


def live(store: Path) -> list[str]:
    catalog = Catalog(DirectoryStore(store), ENVIRONMENT.id)
    superseded: set[str] = set()
    return [ref.name for ref, _ in catalog.readable(catalog.packs(), superseded)]


def test_what_was_restored_is_not_saved_again_and_not_read_again(here, there, store):
    here.write("a")
    assert here.save(store).status is OperationStatus.SUCCESS
    assert there.restore(store).files == 1
    assert there.save(store).status is OperationStatus.SKIPPED
    assert there.restore(store).status is OperationStatus.SKIPPED
    assert there.files() == here.files()


def test_packs_that_pile_up_are_merged_and_nothing_is_missing_meanwhile(here, there, store):
    for number in range(20):
        here.write(f"file-{number:02}")
        result = here.save(store, replace(LIMITS, grace_seconds=3600))
        assert (result.status, result.files) == (OperationStatus.SUCCESS, 1)
    assert len(packs(store)) == 20  # nothing is old enough to be pruned
    assert len(live(store)) <= 6
    assert there.restore(store).status is OperationStatus.SUCCESS
    assert there.files() == here.files()


def test_prune_removes_what_was_taken_over_and_nothing_else(here, there, store):
    for number in range(20):
        here.write(f"file-{number:02}")
        here.save(store, replace(LIMITS, grace_seconds=3600))
    before = set(live(store))
    result = prune(DirectoryStore(store), LIMITS)
    assert {path.stem for path in packs(store)} == before
    assert (result.kept, result.troubles) == (len(before), ())
    assert check(DirectoryStore(store)).ok
    there.restore(store)
    assert there.files() == here.files()


def test_savers_prune_what_was_taken_over_once_there_is_much_of_it(here, store):
    for number in range(60):
        here.write(f"file-{number:02}")
        here.save(store)
    assert len(packs(store)) < 40


def test_a_pack_that_was_taken_over_stays_while_its_successor_is_damaged(here, there, store):
    for number in range(4):
        here.write(f"file-{number}")
        here.save(store, replace(LIMITS, grace_seconds=3600))
    (merged,) = (path for path in packs(store) if path.stem == live(store)[0])
    content = bytearray(merged.read_bytes())
    content[40] ^= 1
    merged.write_bytes(content)
    result = there.restore(store)
    assert result.status is OperationStatus.ERROR
    left = {name: content for name, content in here.files().items() if name != "file-3"}
    assert there.files() == left  # out of the packs that it took over
    prune(DirectoryStore(store), LIMITS)
    again = Place(there.workspace.root.parent / "again")
    again.restore(store)
    assert again.files() == left


def test_a_damaged_pack_is_noted_written_again_and_pruned(here, there, store):
    here.write("a")
    here.save(store)
    (bad,) = packs(store)
    content = bytearray(bad.read_bytes())
    content[40] ^= 1
    bad.write_bytes(content)
    assert not check(DirectoryStore(store)).ok
    assert there.restore(store).troubles
    assert here.save(store).files == 1
    prune(DirectoryStore(store), LIMITS)
    assert check(DirectoryStore(store)).ok
    assert there.restore(store).files == 1
    assert there.files() == here.files()


def test_what_is_used_is_renewed_before_it_expires_and_the_rest_is_not(here, there, store):
    here.write("used")
    here.write("unused")
    here.save(store)
    age(store, 16 * DAY)
    there.restore(store)
    there.touch("used")
    result = there.save(store)
    assert (result.files, result.refreshed) == (1, 1)
    age(store, 15 * DAY)
    prune(DirectoryStore(store), LIMITS)
    last = Place(here.workspace.root.parent / "last")
    last.restore(store)
    assert list(last.files()) == ["used"]


def test_a_save_above_the_limit_is_split_or_fails_as_asked(here, there, store):
    for number in range(10):
        here.write(f"file-{number}", os.urandom(50_000))
    limits = replace(LIMITS, pack_bytes=120_000)
    failed = here.save(store, replace(limits, split=False))
    assert failed.status is OperationStatus.ERROR
    assert "120,000" in failed.troubles[0].reason
    assert packs(store) == []
    assert here.save(store, limits).files == 10
    assert max(path.stat().st_size for path in packs(store)) <= 120_000
    there.restore(store)
    assert there.files() == here.files()


def test_one_file_that_is_too_large_loses_no_other(here, there, store):
    here.write("large", os.urandom(200_000))
    here.write("small")
    result = here.save(store, replace(LIMITS, pack_bytes=100_000))
    assert (result.files, len(result.troubles)) == (1, 1)
    there.restore(store)
    assert list(there.files()) == ["small"]


def test_the_oldest_makes_room_when_the_store_has_a_limit(here, there, store):
    limits = replace(LIMITS, store_bytes=300_000, fan=100)
    for number in range(10):
        here.write(f"file-{number}", os.urandom(50_000))
        result = here.save(store, limits)
        assert result.status is (
            OperationStatus.ERROR if result.left_out else OperationStatus.SUCCESS
        )
        assert number > 4 or not result.left_out
        age(store, 10)
        total = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        assert total <= 300_000
    there.restore(store)
    assert "file-9" in there.files()
    assert "file-0" not in there.files()


def test_a_save_never_makes_room_at_the_cost_of_another_environment(here, there, store):
    limits = replace(LIMITS, store_bytes=100_000)
    here.write("a", os.urandom(99_000))
    here.save(store, limits)
    age(store, 10)
    there.write("b", os.urandom(50_000))
    result = save(there.workspace, Environment({"torch": "2.14.0"}), str(store), limits)
    assert (result.status, list(result.left_out)) == (OperationStatus.ERROR, ["inductor/ab/b"])
    assert "prune it" in result.troubles[0].remedy
    assert len(packs(store)) == 1
    prune(DirectoryStore(store), replace(limits, store_bytes=0))
    assert packs(store) == []


def test_a_store_whose_limit_leaves_no_room_keeps_what_it_has(here, there, store):
    here.write("a", os.urandom(50_000))
    limits = replace(LIMITS, store_bytes=90_000, grace_seconds=3600)
    here.save(store, limits)
    here.write("b", os.urandom(50_000))
    result = here.save(store, limits)
    assert result.status is OperationStatus.ERROR
    assert "limit" in result.troubles[0].reason
    there.restore(store)
    assert list(there.files()) == ["a"]


def test_what_expired_unused_is_not_saved_again_by_a_workspace_that_still_has_it(
    here, there, store
):
    here.write("a")
    here.save(store)
    age(store, 31 * DAY)
    there.restore(store)
    prune(DirectoryStore(store), LIMITS)
    assert packs(store) == []
    assert there.save(store).status is OperationStatus.SKIPPED


def test_a_pack_that_left_something_out_takes_nothing_over(here, store, monkeypatch):
    for number in range(3):
        here.write(f"file-{number}")
        here.save(store, replace(LIMITS, grace_seconds=3600))
    here.write("new")
    real = os.open

    def vanishing(path, *args, **kwargs):
        if str(path).endswith("file-1"):
            raise FileNotFoundError(2, "gone", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", vanishing)
    here.save(store, replace(LIMITS, grace_seconds=3600))
    monkeypatch.undo()
    assert len(live(store)) == 4


def entry(place: Place, name: str, *, seconds: int, guard: str) -> None:
    """An entry of one key, as one of several racing processes leaves it."""
    folder = place.workspace.inductor / "guarded" / "fxgraph" / "ab" / "fkey"
    folder.mkdir(parents=True, exist_ok=True)
    said = {"guards_expr": guard, "_time_taken_ns": seconds * 10**9}
    (folder / name).write_bytes(pickle.dumps(said, protocol=4))


def entries(place: Place) -> list[str]:
    folder = place.workspace.inductor / "guarded" / "fxgraph" / "ab" / "fkey"
    return sorted(path.name for path in folder.iterdir())


def test_entries_that_say_the_same_are_restored_once_and_counted(here, there, store, tmp_path):
    entry(here, "one", seconds=1, guard="s0 > 3")
    entry(here, "two", seconds=2, guard="s0 > 3")
    entry(here, "other", seconds=2, guard="s0 > 4")
    saved = here.save(store)
    assert (saved.files, saved.duplicates) == (2, 1)
    entry(there, "three", seconds=3, guard="s0 > 3")  # another shard, at the same time
    there.save(store)
    third = Place(tmp_path / "third")
    restored = third.restore(store)
    assert (restored.files, restored.duplicates) == (2, 1)
    assert len(entries(third)) == 2
    assert third.restore(store).status is OperationStatus.SKIPPED
    assert third.save(store).status is OperationStatus.SKIPPED
    assert here.save(store).status is OperationStatus.SKIPPED


def test_packs_with_entries_that_were_left_out_are_merged_and_pruned(here, store, tmp_path):
    for number in range(4):
        place = Place(tmp_path / str(number))
        entry(place, f"entry-{number}", seconds=number, guard="s0 > 3")
        place.save(store)
    here.restore(store)
    here.write("new")
    assert here.save(store).merged == 4
    prune(DirectoryStore(store), LIMITS)
    assert len(packs(store)) == 1
    last = Place(tmp_path / "last")
    last.restore(store)
    assert len(entries(last)) == 1


def test_a_restore_stops_at_the_limit_of_the_workspace_with_the_newest(here, there, store):
    for number in range(4):
        here.write(f"file-{number}", os.urandom(50_000))
        here.save(store, replace(LIMITS, fan=100))
        age(store, 10)
    result = there.restore(store, replace(LIMITS, workspace_bytes=120_000))
    assert (result.status, result.files) == (OperationStatus.SUCCESS, 2)
    assert list(there.files()) == ["file-2", "file-3"]
    again = there.restore(store, replace(LIMITS, workspace_bytes=120_000))
    assert again.status is OperationStatus.SKIPPED
