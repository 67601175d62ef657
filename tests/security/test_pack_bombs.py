"""Packs of a few kilobytes that would unpack to a gigabyte: a miss, for little memory."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from pytest_compilecache.cache import CacheResult, OperationStatus
from tests.crash.extent import SOAK
from tests.security.bombs import FRAME_SIZE, HONEST, IN_FRAME, IN_INDEX, INDEX_SIZE, MIB
from tests.security.forging import Forgery
from tests.security.scene import GOOD, GOOD_CONTENT, Scene, assert_told_well

ALLOWANCE = 64 * MIB

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")


def restore_cheaply(scene: Scene, make: Callable[[], Forgery], cap: int) -> CacheResult:
    content, name = make().build()
    pack = scene.root / f"{name}.pack"
    pack.write_bytes(content)
    result, took = scene.restore_apart(pack)
    assert scene.restored()[GOOD] == GOOD_CONTENT
    assert_told_well(result)
    assert took < cap + ALLOWANCE, f"{took / MIB:.0f} MiB"
    return result


# Each costs a process; the rest of them are for the long form.
SHORT = {
    "says 1 GiB, and its footer less",
    "says 24 MiB and holds 1 GiB",
    "wants a window of 2 GiB",
    "holds 6 million words",
    "holds one word of wide letters",
    "lists 100,000 files",
    "opens 32 million lists",
}


@pytest.mark.parametrize("bomb", [bomb for bomb in IN_INDEX if SOAK or bomb in SHORT])
def test_index_that_is_a_bomb_is_a_cheap_miss(bomb: str, scene: Scene):
    result = restore_cheaply(scene, IN_INDEX[bomb], INDEX_SIZE)
    assert result.status is OperationStatus.ERROR
    assert len(result.troubles) == 1


@pytest.mark.parametrize("bomb", IN_FRAME)
def test_frame_that_is_a_bomb_is_a_cheap_miss(bomb: str, scene: Scene):
    result = restore_cheaply(scene, IN_FRAME[bomb], FRAME_SIZE)
    assert result.status is OperationStatus.ERROR
    assert len(result.troubles) == 1
    assert set(scene.restored()) == {GOOD}


@pytest.mark.parametrize("bomb", HONEST)
def test_large_file_takes_as_little_memory_as_a_small_one(bomb: str, scene: Scene):
    result = restore_cheaply(scene, HONEST[bomb], FRAME_SIZE)
    assert not result.troubles
    assert sum(map(len, scene.restored().values())) > 127 * MIB
