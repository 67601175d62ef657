"""Servers fork after they imported everything; what a fork left is not in its parent's way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.limits import Limits
from tests.stateful.killing import run_until_killed
from tests.stateful.world import ENVIRONMENTS, PATHS, World


@pytest.fixture
def world() -> Iterator[World]:
    world = World(Limits(free_bytes=0))
    for path in PATHS[:4]:
        world.write(0, path, 2000)
    world.save(0)
    yield world
    world.remove()


def test_restore_succeeds_where_a_forked_one_was_killed(world: World):
    for position in itertools.count(1):
        world.replace_machine(1)
        killed = run_until_killed(lambda: world.restore(1), position) is None
        result = world.restore(1)
        assert result.status in {OperationStatus.SUCCESS, OperationStatus.SKIPPED}, result
        assert world.artifacts(1).keys() == world.artifacts(0).keys()
        if not killed:
            break
    assert position > 5


def test_save_succeeds_where_a_forked_one_was_killed(world: World):
    for position in itertools.count(1):
        world.write(0, PATHS[4], 2000)
        killed = run_until_killed(lambda: world.save(0), position) is None
        assert world.save(0).status in {OperationStatus.SUCCESS, OperationStatus.SKIPPED}
        assert PATHS[4] in world.restore_elsewhere(ENVIRONMENTS[0])[1]
        if not killed:
            break
        for pack in world.packs():
            pack.location.unlink()
    assert position > 5
