"""A store in a folder with other people's files: these are neither counted, listed nor touched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus, restore
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import MIB
from pytest_compilecache.store import DirectoryStore
from pytest_compilecache.store.check import check
from pytest_compilecache.store.prune import prune
from tests.unit.machine import LIMITS, Place, age, packs

LIMITED = replace(LIMITS, store_bytes=MIB)


@pytest.fixture
def store(tmp_path) -> Path:
    store = tmp_path / "shared"
    store.mkdir()
    return store


@pytest.fixture
def here(tmp_path) -> Place:
    return Place(tmp_path / "here")


def test_a_limit_deletes_no_pack_because_of_a_data_set_beside_the_store(here, store):
    (store / "dataset.bin").write_bytes(b"x" * 5_000_000)
    (store / "tmp").mkdir()
    (store / "tmp" / "somebody's.bin").write_bytes(b"x" * 5_000_000)
    here.write("a")
    assert here.save(store, LIMITED).status is OperationStatus.SUCCESS
    (first,) = packs(store)
    age(store, 7200)
    here.write("b")
    assert here.save(store, LIMITED).status is OperationStatus.SUCCESS
    assert prune(DirectoryStore(store), LIMITED).deleted == ()
    assert first in packs(store)
    assert len(packs(store)) == 2


def test_what_is_being_written_counts(here, store):
    here.write("a", os.urandom(10_000))
    with DirectoryStore(store).stage() as staged:
        staged.file.write(b"x" * MIB)
        staged.file.flush()
        result = here.save(store, LIMITED)
    assert result.status is OperationStatus.ERROR
    assert packs(store) == []


def test_nothing_walks_through_a_tree_beside_the_store(here, store, tmp_path, monkeypatch):
    (store / "data" / "deep").mkdir(parents=True)
    here.write("a")
    here.save(store, LIMITED)
    scandir, visited = os.scandir, []

    def looking(folder):
        visited.append(os.fspath(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", looking)
    other = Place(tmp_path / "there")
    told = restore(other.workspace, Environment({"torch": "2.14.0"}), str(store), LIMITED)
    assert "torch is 2.14.0 here and 2.13.0 there" in told.explanation
    here.write("b")
    here.save(store, LIMITED)
    prune(DirectoryStore(store), LIMITED)
    assert check(DirectoryStore(store)).ok
    monkeypatch.undo()
    inside = {Path(each).relative_to(store).parts[:1] for each in visited if str(store) in each}
    assert inside == {("v1",), ("tmp",)}
