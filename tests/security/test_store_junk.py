"""Stores full of junk: listed in bounded time, told in few words, never in the way."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from pytest_compilecache.limits import Limits
from pytest_compilecache.store import open_store
from pytest_compilecache.store.check import check
from pytest_compilecache.store.prune import prune
from tests.crash.extent import SOAK
from tests.security.forging import FILES, valid
from tests.security.scene import GOOD, GOOD_CONTENT, Scene, assert_told_well

NAME = "5" * 64
NOTHING_IS_YOUNG = Limits(grace_seconds=0.0, incomplete_seconds=0.0)


def test_very_many_names_are_listed_in_bounded_time(scene: Scene):
    for number in range(100_000 if SOAK else 10_000):
        os.mknod(scene.packs / f"junk-{number}")
    started = time.monotonic()
    result = scene.restore()
    assert time.monotonic() - started < 30
    shutil.rmtree(scene.store)  # nobody wants to keep as many
    assert not result.troubles
    assert scene.restored() == {GOOD: GOOD_CONTENT}


def test_many_empty_packs_are_few_troubles_and_few_notes(scene: Scene):
    for number in range(300):
        scene.add(b"", f"{number:064x}")
    result = scene.restore()
    assert_told_well(result)
    assert 1 <= len(result.troubles) <= 100
    assert scene.restored() == {GOOD: GOOD_CONTENT}
    # Each note waits for the disk: without a bound, so would the session.
    assert 1 <= len(list((scene.shelf / "suspect").iterdir())) <= 100


def test_folders_in_folders_are_listed_as_far_as_names_go(scene: Scene):
    deep = scene.packs
    for _ in range(600):
        deep = deep / "d"
        deep.mkdir()
    result = scene.restore()
    shutil.rmtree(scene.packs / "d")  # whoever clears old folders away may not come so deep
    assert not result.troubles
    assert scene.restored() == {GOOD: GOOD_CONTENT}


@pytest.mark.parametrize("when", [-(2**31), -1, 0, 2**33, 2**34 - 1])
def test_pack_of_an_impossible_date_is_restored(when: int, scene: Scene):
    content, name = valid().build()
    os.utime(scene.add(content, name), (when, when))
    result = scene.restore()
    assert not result.troubles
    assert scene.restored() == {**FILES, GOOD: GOOD_CONTENT}


def test_check_and_prune_survive_all_of_it(scene: Scene):
    scene.add(b"no pack", NAME)
    os.mkfifo(scene.packs / "pipe")
    (scene.packs / f"{'6' * 64}.pack").symlink_to("/dev/zero")
    (scene.shelf / "suspect").mkdir()
    (scene.shelf / "suspect" / NAME).write_bytes(b"\x1b[2J" * 1000)
    store = open_store(str(scene.store))
    assert [each.key for each in check(store).findings if NAME in each.key]
    assert prune(store, NOTHING_IS_YOUNG).kept >= 1
    assert scene.good.exists()
