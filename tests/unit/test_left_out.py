"""Files of a workspace that a save could not pack: it names them, and saves the rest."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_compilecache.cache import CacheResult, OperationStatus
from tests.unit.machine import LIMITS, Place


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def here(tmp_path) -> Place:
    return Place(tmp_path / "here")


@pytest.fixture
def fail_opening(monkeypatch):
    """Let opening a file of this name raise."""

    def fail(name: str, error: OSError) -> None:
        real = os.open

        def opening(path, *args, **kwargs):
            if str(path).endswith(name):
                raise error
            return real(path, *args, **kwargs)

        monkeypatch.setattr(os, "open", opening)

    return fail


def test_a_path_that_no_pack_may_hold_is_an_error_and_the_rest_is_saved(here, store):
    here.write("fine")
    here.write("bad:name")
    result = here.save(store)
    assert (result.status, result.files, result.packs) == (OperationStatus.ERROR, 1, 1)
    assert result.left_out == {"inductor/ab/bad:name": "its path holds a backslash or a colon"}
    (trouble,) = result.troubles
    assert trouble.subject == "inductor/ab/bad:name"
    assert "was not saved" in trouble.reason
    assert trouble.remedy


def test_when_nothing_could_be_packed_it_is_an_error(here, store):
    here.write("bad:name")
    result = here.save(store)
    assert (result.status, result.files, result.packs) == (OperationStatus.ERROR, 0, 0)
    assert not list(store.rglob("*.pack"))


def test_a_file_that_cannot_be_read_is_told_in_words(here, store, fail_opening):
    here.write("a")
    here.write("b")
    fail_opening("/b", PermissionError(13, "Permission denied"))
    result = here.save(store)
    assert result.left_out == {"inductor/ab/b": "it cannot be read: Permission denied"}
    assert len(result.troubles) == 1


def test_a_file_that_a_compiler_takes_away_meanwhile_is_no_trouble(here, store, fail_opening):
    here.write("a")
    here.write("b")
    fail_opening("/b", FileNotFoundError(2, "No such file or directory"))
    result = here.save(store)
    assert (result.status, result.files) == (OperationStatus.SUCCESS, 1)
    assert result.left_out == {"inductor/ab/b": "it vanished"}
    assert result.troubles == ()


def test_many_of_them_are_one_line_that_names_the_first(here, store):
    for number in range(50):
        here.write(f"bad:{number:02}")
    result = here.save(store)
    assert len(result.left_out) == 50
    (trouble,) = result.troubles
    assert trouble.subject == "50 files"
    assert "inductor/ab/bad:00, inductor/ab/bad:01, inductor/ab/bad:02, …" in trouble.reason


def test_a_file_that_is_too_large_for_a_pack_is_an_error_and_costs_none_of_the_others(here, store):
    here.write("large", os.urandom(60_000))
    here.write("small", os.urandom(1000))
    result = here.save(store, replace(LIMITS, pack_bytes=30_000))
    assert (result.status, result.files) == (OperationStatus.ERROR, 1)
    assert list(result.left_out) == ["inductor/ab/large"]
    assert result.troubles[0].subject == "inductor/ab/large"


def test_a_result_with_them_reaches_another_process(here, store):
    here.write("bad:name")
    result = here.save(store)
    assert CacheResult.from_mapping(json.loads(json.dumps(result.to_mapping()))) == result
