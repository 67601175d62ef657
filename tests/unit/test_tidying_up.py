"""Nobody has to look after a store: savers prune it when there is something to prune."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus, save
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import DAY
from pytest_compilecache.store import DirectoryStore
from pytest_compilecache.store.prune import prune
from tests.unit.machine import LIMITS, Place, age, packs

KEPT = replace(LIMITS, grace_seconds=3600)


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def here(tmp_path) -> Place:
    return Place(tmp_path / "here")


def upgraded(place: Place, store: Path, version: str):
    """Save for another environment."""
    return save(place.workspace, Environment({"torch": version}), str(store), KEPT)


def test_a_save_prunes_its_own_environment_and_leaves_the_others_to_the_command(here, store):
    here.write("a")
    for version in ("2.0", "2.1"):
        assert upgraded(here, store, version).status is OperationStatus.SUCCESS
    age(store, 60 * DAY)
    here.write("b")
    assert upgraded(here, store, "2.1").status is OperationStatus.SUCCESS
    assert len(packs(store)) == 2  # one of each; what was used of the old one stands in the new
    result = prune(DirectoryStore(store), KEPT)
    assert (len(result.deleted), result.kept) == (2, 1)  # with the description
    assert len(packs(store)) == 1


def test_an_environment_alone_can_be_pruned(here, store):
    here.write("a")
    for version in ("2.0", "2.1"):
        upgraded(here, store, version)
    age(store, 60 * DAY)
    mine = Environment({"torch": "2.0"}).id
    result = prune(DirectoryStore(store), KEPT, environment=mine)
    assert {key.split("/")[1] for key in result.deleted} == {mine}
    assert [path.parent.parent.name for path in packs(store)] != [mine]
    # A limit is on the whole store: what others hold counts, and stays.
    prune(DirectoryStore(store), replace(KEPT, store_bytes=0), environment=mine)
    assert len(packs(store)) == 1


def test_a_note_is_answered_by_the_next_save_though_nothing_is_new(here, store):
    here.write("a")
    here.save(store, KEPT)
    (pack,) = packs(store)
    note = pack.parent.parent / "suspect" / pack.stem
    note.parent.mkdir()
    note.write_bytes(b"seems to be damaged")
    assert here.save(store, KEPT).status is OperationStatus.SKIPPED
    assert note.exists()  # a reader may just have written it
    age(store, 2 * 3600)
    assert here.save(store, KEPT).status is OperationStatus.SKIPPED
    assert not note.exists()
    assert packs(store) == [pack]


def test_a_damaged_pack_goes_once_its_content_was_saved_again(here, store, tmp_path):
    here.write("a", b"a" * 5000)
    here.save(store, KEPT)
    (pack,) = packs(store)
    pack.write_bytes(pack.read_bytes()[:-1])
    assert Place(tmp_path / "there").restore(store, KEPT).status is OperationStatus.ERROR
    assert here.save(store, KEPT).files == 1
    age(store, 2 * 3600)
    here.save(store, KEPT)
    assert not pack.exists()
    assert Place(tmp_path / "elsewhere").restore(store, KEPT).status is OperationStatus.SUCCESS


@pytest.mark.parametrize("skew", [-10 * DAY, 10 * DAY])
def test_a_saver_whose_clock_is_wrong_leaves_that_to_others(here, store, monkeypatch, skew):
    here.write("a")
    upgraded(here, store, "2.0")
    age(store, 60 * DAY)
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + skew)
    here.write("b")
    upgraded(here, store, "2.1")
    assert len(packs(store)) == 2


def test_the_limit_on_the_store_counts_descriptions_too(here, store):
    for name in "ab":
        here.write(name)
        here.save(store, LIMITS)
        age(store, 10)
    oldest = min(packs(store), key=lambda each: each.stat().st_mtime_ns)
    size = sum(each.stat().st_size for each in store.rglob("*") if each.is_file())
    assert prune(DirectoryStore(store), replace(LIMITS, store_bytes=size)).deleted == ()
    prune(DirectoryStore(store), replace(LIMITS, store_bytes=size - 1))
    assert not oldest.exists()
    assert len(packs(store)) == 1
