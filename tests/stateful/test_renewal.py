"""What is in use is published again before its pack expires, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_compilecache.limits import DAY, Limits
from tests.stateful.world import ENVIRONMENTS, PATHS, World

PATH, OTHER = PATHS[:2]
ENTRY = next(path for path in PATHS if path.endswith("/key/entry"))


@pytest.fixture
def world() -> Iterator[World]:
    world = World(Limits(fan=100, free_bytes=0))
    world.write(0, PATH, 50)
    world.save(0)
    yield world
    world.remove()


def test_what_was_compiled_anew_is_renewed(world: World):
    world.let_pass(25 * DAY)
    world.write(1, PATH, 50)
    world.save(1)
    world.let_pass(10 * DAY)
    world.prune()
    assert PATH in world.restore_elsewhere(ENVIRONMENTS[0])[1]


def test_what_was_compiled_anew_while_an_expired_pack_is_still_there_is_renewed(world: World):
    world.let_pass(31 * DAY)
    world.write(1, PATH, 50)
    world.save(1)
    world.prune()
    assert PATH in world.restore_elsewhere(ENVIRONMENTS[0])[1]


def test_what_was_last_used_long_ago_is_not_renewed(world: World):
    world.use(0, PATH)
    world.let_pass(16 * DAY)
    world.write(0, OTHER, 50)
    assert world.save(0).refreshed == 0


def test_entry_in_use_is_renewed_where_another_one_was_saved_that_says_the_same(world: World):
    """Workers that race leave some; one is saved, and torch may find another one first."""
    world.write(1, ENTRY, 60)
    world.write(1, ENTRY, 60)
    world.save(1)
    (saved,) = (path for pack in world.packs() for path in pack.content.paths if "/key/" in path)
    (other,) = (path for path in world.artifacts(1) if "/key/" in path and path != saved)
    for _ in range(3):
        world.let_pass(16 * DAY)
        world.forget_reading(1)
        world.use(1, other)
        world.save(1)
    world.prune()
    assert any("/key/" in path for path in world.restore_elsewhere(ENVIRONMENTS[0])[1])
