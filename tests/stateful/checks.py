"""What the store promises, each as a function that fails where it does not hold."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.errors import PackError
from pytest_compilecache.limits import DAY
from pytest_compilecache.store import DirectoryStore
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.staging import temporary_name
from tests.crash.faults import Call, intercepted
from tests.stateful.inspection import SeenPack
from tests.stateful.killing import run_until_killed
from tests.stateful.world import ENVIRONMENTS, PATHS, World

HERE = ENVIRONMENTS[0]
FIRST, SECOND, THIRD = PATHS[:3]


def content_and_name_are_synced_in_this_order(world: World) -> None:
    world.write(0, FIRST, 5000)
    world.save(0)
    world.write(0, SECOND, 5000)
    steps: list[tuple[str, int, int]] = []

    def note(call: Call) -> Any:
        if call.name == "fsync":
            status = os.fstat(call.arguments[0])
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "file"
            steps.append((kind, status.st_ino, status.st_size))
        result = call.make()
        if call.name in {"link", "rename", "replace"} and str(call.arguments[1]).endswith(".pack"):
            status = Path(call.arguments[1]).stat()
            steps.append(("name", status.st_ino, status.st_size))
        return result

    with intercepted(note):
        world.save(0)
    (named,) = (position for position, step in enumerate(steps) if step[0] == "name")
    pack = world.packs()[-1]
    assert ("file", *steps[named][1:]) in steps[:named], "its bytes were not synced before"
    folder = pack.location.parent.stat().st_ino
    assert any(step[:2] == ("folder", folder) for step in steps[named:]), "its name was not synced"


def killed_save_leaves_nothing_torn_that_is_listed(world: World) -> None:
    world.write(0, FIRST, 5000)
    for _ in _kills(lambda: world.save(0), lambda: world.write(0, SECOND, 5000)):
        assert all(pack.content.whole for pack in world.packs()), "a torn pack is listed"
        for pack in world.packs():
            pack.location.unlink()


def killed_restore_leaves_no_torn_file(world: World) -> None:
    world.write(0, FIRST, 5000)
    world.write(0, SECOND, 5000)
    world.save(0)
    for _ in _kills(lambda: world.restore(1), lambda: world.replace_machine(1)):
        for path in world.artifacts(1):
            assert world.content(1, path) in world.written[HERE.id, path], f"{path} is torn"


def damaged_frame_gives_no_file(world: World) -> None:
    world.write(0, FIRST, 5000)
    world.save(0)
    _spoil(world.packs()[0])
    assert world.restore_elsewhere(HERE)[1] == {}, "a damaged file was restored"


def pack_of_another_name_is_refused(world: World) -> None:
    first, second = _two_packs(world)
    first.location.write_bytes(second.location.read_bytes())
    catalog = Catalog(DirectoryStore(world.store), HERE.id)
    with pytest.raises(PackError), catalog.open_pack(first.name):
        pass


def environments_stay_apart(world: World) -> None:
    world.write(0, FIRST, 50)
    world.save(0)
    world.write(2, FIRST, 50)
    world.save(2)
    ours, theirs = (
        next(pack for pack in world.packs() if pack.environment == environment.id)
        for environment in ENVIRONMENTS
    )
    stray = ours.location.with_name(theirs.location.name)
    ours.location.unlink()
    stray.write_bytes(theirs.location.read_bytes())
    assert world.restore_elsewhere(HERE)[1] == {}, "it was made in another environment"


def savers_keep_what_others_saved(world: World) -> None:
    _two_packs(world)
    _assert_restored(world, FIRST, SECOND)


def prune_leaves_what_is_young(world: World) -> None:
    world.limits = replace(world.limits, grace_seconds=3600.0)
    _merged(world)
    before = world.packs()
    world.prune()
    assert world.packs() == before, "a young pack was deleted"


def prune_leaves_what_is_nowhere_else(world: World) -> None:
    world.limits = replace(world.limits, grace_seconds=3600.0)
    _spoil(_merged(world))
    world.let_pass(7200)
    world.prune()
    _assert_restored(world, FIRST, SECOND)


def what_was_taken_over_is_restored_while_its_successor_is_damaged(world: World) -> None:
    world.limits = replace(world.limits, grace_seconds=3600.0)
    _spoil(_merged(world))
    _assert_restored(world, FIRST, SECOND)


def merges_keep_everything(world: World) -> None:
    _merged(world)
    world.let_pass(60)
    world.prune()
    _assert_restored(world, FIRST, SECOND, THIRD)


def store_stays_below_its_limit_at_every_call(world: World) -> None:
    world.limits = replace(world.limits, store_bytes=10_000)
    sizes = [0]

    def measure(call: Call) -> Any:
        result = call.make()
        if call.name in {"write", "link", "open"}:
            sizes.append(world.size())
        return result

    for path in (FIRST, SECOND, THIRD):
        world.write(0, path, 4000)
        world.let_pass(60)
        with intercepted(measure):
            world.save(0)
    assert max(sizes) > 8000
    assert max(sizes) <= world.limits.store_bytes, "the store outgrew its limit"


def savers_wait_for_their_turn(world: World) -> None:
    limits = replace(world.limits, concurrent_saves=1, lock_seconds=0.02)
    world.write(0, FIRST, 50)
    with DirectoryStore(world.store, limits).stage():
        result = world.save(0, limits)
    assert result.status is OperationStatus.ERROR, "it took no turn"
    assert "others write to it" in result.troubles[0].reason


def what_a_live_writer_writes_is_left_alone(world: World) -> None:
    store = DirectoryStore(world.store, world.limits)
    with store.stage() as staged:
        staged.file.write(b"content")
        staged.file.flush()
        world.let_pass(DAY)
        store.clock()
        assert staged.publish("v1/key")
    assert [each.key for each in store.list("v1")] == ["v1/key"]


def what_a_dead_writer_left_is_removed(world: World) -> None:
    _two_packs(world)
    left = world.store / "tmp" / temporary_name()
    left.write_bytes(b"x")
    world.let_pass(DAY)
    world.prune()
    assert not left.exists(), "what a dead writer left is still there"


def what_was_noted_as_damaged_is_saved_again(world: World) -> None:
    world.write(0, FIRST, 5000)
    world.save(0)
    _spoil(world.packs()[0])
    world.restore(1)
    world.save(0)
    _assert_restored(world, FIRST)


def what_is_used_does_not_expire(world: World) -> None:
    world.write(0, FIRST, 50)
    world.save(0)
    for _ in range(2):
        world.let_pass(16 * DAY)
        world.restore(1)
        world.use(1, FIRST)
        world.save(1)
        world.prune()
    _assert_restored(world, FIRST)


def _kills(operation: Callable[[], Any], prepare: Callable[[], Any]) -> Iterator[int]:
    """Every position at which the operation is killed; it is prepared before each."""
    position, result = 0, None
    while result is None:
        position += 1
        prepare()
        result = run_until_killed(operation, position)
        yield position
    assert position > 5, "it was hardly ever killed"


def _two_packs(world: World) -> list[SeenPack]:
    for machine, path in ((0, FIRST), (1, SECOND)):
        world.write(machine, path, 50)
        assert world.save(machine).status is OperationStatus.SUCCESS
        world.let_pass(60)
    return world.packs()


def _merged(world: World) -> SeenPack:
    """A pack that took two others over."""
    for path in (FIRST, SECOND, THIRD):
        world.let_pass(60)
        world.write(0, path, 5000)
        assert world.save(0).status is OperationStatus.SUCCESS
    (merged,) = (pack for pack in world.packs() if pack.content.supersedes)
    return merged


def _assert_restored(world: World, *paths: str) -> None:
    missing = set(paths) - world.restore_elsewhere(HERE)[1].keys()
    assert not missing, f"{missing} was saved and did not come back"


def _spoil(pack: SeenPack) -> None:
    """Damage the first frame of a pack, which a disk does without a new time."""
    status = pack.location.stat()
    content = bytearray(pack.location.read_bytes())
    content[len(content) // 4] ^= 1
    pack.location.write_bytes(content)
    os.utime(pack.location, ns=(status.st_atime_ns, status.st_mtime_ns))
