"""A prune takes nothing that was taken over unless it was read elsewhere, whatever is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_compilecache.limits import Limits
from tests.stateful.inspection import SeenPack
from tests.stateful.world import ENVIRONMENTS, PATHS, World

SHARED, *OTHERS = PATHS[:4]
ENTRY = next(path for path in PATHS if path.endswith("/entry"))
HERE = ENVIRONMENTS[0]


@pytest.fixture
def world() -> Iterator[World]:
    world = World(Limits(fan=2, free_bytes=0))
    yield world
    world.remove()


def save_apart(world: World, machine: int) -> None:
    """Save as if the packs that are there were published at the same moment."""
    before = {pack.location: pack.location.read_bytes() for pack in world.packs()}
    for location in before:
        location.unlink()
    world.save(machine)
    for location, content in before.items():
        location.write_bytes(content)
    world.let_pass(60)


def save_one(world: World, path: str, size: int = 2000) -> None:
    world.write(0, path, size)
    world.save(0)
    world.let_pass(60)


def spoil(location: Path) -> None:
    """Damage the first frame of a pack."""
    content = bytearray(location.read_bytes())
    content[40] ^= 1
    location.write_bytes(content)


def holders(world: World, path: str) -> list[SeenPack]:
    return [pack for pack in world.packs() if path in pack.content.paths]


def test_last_intact_copy_stays_while_others_only_look_whole(world: World):
    save_one(world, SHARED)
    (intact,) = world.packs()
    save_one(world, OTHERS[0])
    save_one(world, OTHERS[1])
    assert any(intact.name in pack.content.supersedes for pack in world.packs())
    world.write(1, SHARED, 2000)
    save_apart(world, 1)
    for pack in holders(world, SHARED):
        if pack.name != intact.name:
            spoil(pack.location)
    world.let_pass(2 * world.limits.grace_seconds)
    world.prune()
    assert SHARED in world.restore_elsewhere(HERE)[1]


def test_last_intact_entry_stays_while_the_key_has_one_that_says_something_else(world: World):
    save_one(world, ENTRY, 60)
    (intact,) = world.packs()
    save_one(world, OTHERS[0])
    save_one(world, OTHERS[1])
    (successor,) = (pack for pack in world.packs() if intact.name in pack.content.supersedes)
    spoil(successor.location)
    save_one(world, ENTRY, 700)
    world.let_pass(2 * world.limits.grace_seconds)
    world.prune()
    restored = world.restore_elsewhere(HERE)[1]
    assert intact.content.paths <= restored.keys()
