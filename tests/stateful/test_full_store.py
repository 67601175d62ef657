"""A store that has reached its limit takes what is new: its environment's oldest makes room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.limits import Limits
from tests.stateful.world import ENVIRONMENTS, PATHS, World

NEW, OLD = PATHS[:2]


@pytest.fixture
def world() -> Iterator[World]:
    world = World(Limits(grace_seconds=0, free_bytes=0))
    world.write(0, OLD, 5000)
    world.save(0)
    world.let_pass(60)
    yield world
    world.remove()


@pytest.mark.parametrize("room", [0, 100, 300, 600, 900])
def test_small_save_finds_room_in_a_full_store(world: World, room: int):
    world.limits = replace(world.limits, store_bytes=world.size() + room)
    world.write(0, NEW, 50)
    result = world.save(0)
    assert result.status is OperationStatus.SUCCESS, result.troubles
    assert NEW in world.restore_elsewhere(ENVIRONMENTS[0])[1]
    assert world.size() <= world.limits.store_bytes


@pytest.mark.parametrize("room", [0, 100, 300, 600, 900])
def test_no_room_is_made_at_the_cost_of_another_environment(world: World, room: int):
    world.limits = replace(world.limits, store_bytes=world.size() + room)
    world.write(2, NEW, 50)
    result = world.save(2)
    saved = NEW in world.restore_elsewhere(ENVIRONMENTS[1])[1]
    assert result.status is (OperationStatus.SUCCESS if saved else OperationStatus.ERROR)
    assert OLD in world.restore_elsewhere(ENVIRONMENTS[0])[1]
    assert world.size() <= world.limits.store_bytes
