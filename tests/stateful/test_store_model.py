"""Everything that happens to a store, in any order, against what a dictionary would remember.

What was acknowledged can be restored until it expires, is evicted by the limit on
the store, or is damaged. Nothing else ever comes out of a store than what was once
made for that environment and path.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.limits import DAY, Limits
from pytest_compilecache.store.turns import Turns
from tests.crash.extent import SOAK
from tests.stateful.inspection import SeenPack
from tests.stateful.killing import run_until_killed
from tests.stateful.model import Model
from tests.stateful.world import ENVIRONMENTS, OWNERS, PATHS, World

MACHINES = st.integers(0, len(OWNERS) - 1)
MADE = st.dictionaries(st.sampled_from(PATHS), st.sampled_from([0, 60, 700, 2500]), min_size=1)
WELL = {OperationStatus.SUCCESS, OperationStatus.SKIPPED}
HOURS = 3600.0
PASSING = st.sampled_from([2 * HOURS, 2 * HOURS, 2 * HOURS, 6.3 * DAY, 20.2 * DAY])

Damage = Callable[[list[SeenPack], SeenPack, int], list[SeenPack]]


def _flip(_: list[SeenPack], pack: SeenPack, where: int) -> list[SeenPack]:
    raw = bytearray(pack.location.read_bytes())
    if raw:
        raw[where * len(raw) // 1000] ^= 1 << where % 8
    return [_rot(pack, bytes(raw))]


def _cut(_: list[SeenPack], pack: SeenPack, where: int) -> list[SeenPack]:
    raw = pack.location.read_bytes()
    return [_rot(pack, raw[: where * len(raw) // 1000])]


def _delete(_: list[SeenPack], pack: SeenPack, where: int) -> list[SeenPack]:
    pack.location.unlink()
    return [pack]


def _swap(packs: list[SeenPack], pack: SeenPack, where: int) -> list[SeenPack]:
    other = packs[where * len(packs) // 1000]
    contents = pack.location.read_bytes(), other.location.read_bytes()
    return [_rot(pack, contents[1]), _rot(other, contents[0])]


def _stray(packs: list[SeenPack], pack: SeenPack, where: int) -> list[SeenPack]:
    """Move a pack to the folder of the other environment."""
    others = [each for each in packs if each.environment != pack.environment]
    if not others:
        return []
    pack.location.rename(others[0].location.with_name(pack.location.name))
    return [pack, replace(pack, environment=others[0].environment)]


def _rot(pack: SeenPack, content: bytes) -> SeenPack:
    """Give a pack another content, which a disk does without a new time."""
    status = pack.location.stat()
    pack.location.write_bytes(content)
    os.utime(pack.location, ns=(status.st_atime_ns, status.st_mtime_ns))
    return pack


class StoreMachine(RuleBasedStateMachine):
    """Machines that use one store."""

    @initialize(
        fan=st.sampled_from([2, 2, 2, 3]),
        grace=st.sampled_from([0.0, HOURS]),
        store_bytes=st.sampled_from([None, None, None, 14_000]),
        pack_bytes=st.sampled_from([1 << 20, 9_000]),
        sessions=st.lists(st.tuples(MACHINES, MADE), min_size=2, max_size=8),
    )
    def begin(
        self,
        fan: int,
        grace: float,
        store_bytes: int | None,
        pack_bytes: int,
        sessions: list[tuple[int, dict[str, int]]],
    ) -> None:
        limits = Limits(
            fan=fan,
            grace_seconds=grace,
            store_bytes=store_bytes,
            pack_bytes=pack_bytes,
            free_bytes=0,
            lock_seconds=5.0,
        )
        self.world = World(limits)
        self.model = Model(self.world)
        for machine, made in sessions:
            self.session(machine, made)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.remove()

    @rule(machine=MACHINES, made=MADE)
    def compile(self, machine: int, made: dict[str, int]) -> None:
        for path, size in made.items():
            self.world.write(machine, path, size)

    @rule(machine=MACHINES, made=MADE)
    def session(self, machine: int, made: dict[str, int]) -> None:
        self.restore(machine)
        self.compile(machine, made)
        self.save(machine)

    @rule(machine=MACHINES, made=MADE)
    def session_on_a_new_machine(self, machine: int, made: dict[str, int]) -> None:
        self.replace_machine(machine)
        self.session(machine, made)

    @rule(machine=MACHINES, seconds=PASSING)
    def session_that_finds_everything(self, machine: int, seconds: float) -> None:
        self.let_pass(seconds)
        self.restore(machine)
        self.use_everything(machine)
        self.save(machine)

    @rule(machine=MACHINES, path=st.sampled_from(PATHS))
    def use(self, machine: int, path: str) -> None:
        self.world.use(machine, path)

    @rule(machine=MACHINES)
    def use_everything(self, machine: int) -> None:
        self.world.use(machine, "")

    @rule(machine=MACHINES)
    def save(self, machine: int) -> None:
        with self.model.saving(machine) as saving:
            saving.result = self.world.save(machine)

    @rule(machine=MACHINES, skew=st.sampled_from([-20 * DAY, -2 * HOURS, 2 * HOURS, 20 * DAY]))
    def save_by_a_wrong_clock(self, machine: int, skew: float) -> None:
        with self.model.saving(machine, skew) as saving:
            saving.result = self.world.save(machine, skew=skew)

    @rule(machine=MACHINES)
    def save_while_too_many_others_do(self, machine: int) -> None:
        limits = replace(self.world.limits, concurrent_saves=1, lock_seconds=0.02)
        turns = self.world.store / "tmp" / "turns"
        turns.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = self.world.packs()
        turn = Turns(turns, 1.0, kernel=True, mode=0o600).take("save", 1, "the store")
        with turn, self.model.deleting(environment=OWNERS[machine].id):
            result = self.world.save(machine, limits)
        assert result.status in {OperationStatus.ERROR, OperationStatus.SKIPPED}, result
        added = {pack.name for pack in self.world.packs()} - {pack.name for pack in before}
        assert not added
        if result.status is OperationStatus.ERROR:  # or it had nothing to save, and tidied up
            assert self.world.packs() == before
            assert "1 others write to it" in result.troubles[0].reason

    @rule(machine=MACHINES)
    def restore(self, machine: int) -> None:
        result = self.world.restore(machine)
        self.model.check_restored(OWNERS[machine], result)

    @rule(environment=st.sampled_from(ENVIRONMENTS))
    def restore_on_a_new_machine(self, environment) -> None:
        result, files = self.world.restore_elsewhere(environment)
        self.model.check_restored(environment, result)
        self.model.check_files(environment, files)

    @rule(machine=MACHINES)
    def replace_machine(self, machine: int) -> None:
        self.world.replace_machine(machine)

    @rule()
    def prune(self) -> None:
        with self.model.deleting():
            self.world.prune()
        self.model.check_left_behind()

    @rule(seconds=PASSING)
    def let_pass(self, seconds: float) -> None:
        self.world.let_pass(seconds)

    @rule(machine=MACHINES, made=MADE, position=st.integers(1, 30))
    def kill_a_save(self, machine: int, made: dict[str, int], position: int) -> None:
        self.compile(machine, made)
        with self.model.saving(machine) as saving:
            saving.result = run_until_killed(lambda: self.world.save(machine), position)

    @rule(machine=MACHINES, new=st.booleans(), position=st.integers(1, 40))
    def kill_a_restore(self, machine: int, new: bool, position: int) -> None:
        if new:
            self.replace_machine(machine)
        run_until_killed(lambda: self.world.restore(machine), position)

    @rule(position=st.integers(1, 8))
    def kill_a_prune(self, position: int) -> None:
        with self.model.deleting():
            run_until_killed(self.world.prune, position)

    # Numbers that do not depend on what is in the store, so that an example can be repeated.
    @rule(
        damage=st.sampled_from([_flip, _flip, _cut, _delete, _swap, _stray]),
        which=st.integers(0, 1000),
        where=st.integers(0, 999),
    )
    def damage_a_pack(self, damage: Damage, which: int, where: int) -> None:
        packs = self.world.packs()
        successors = [pack for pack in packs if pack.content.supersedes]
        choice = successors if successors and which % 2 else packs
        if choice:
            for pack in damage(packs, choice[which % len(choice)], where):
                self.model.note_damage(pack)

    @invariant()
    def nothing_misleads(self) -> None:
        if hasattr(self, "world"):
            self.model.check_store()
            self.model.check_machines()
            self.model.check_restorable()


def compare_with_model(**options: Any) -> None:
    """Let things happen until something disagrees; options are those of Hypothesis."""
    machine = settings(
        derandomize=not SOAK,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(StoreMachine, settings=settings(machine, **options))


def test_store_agrees_with_a_dictionary():
    if SOAK:
        compare_with_model(max_examples=500, stateful_step_count=60)
    else:
        compare_with_model(max_examples=12, stateful_step_count=30)
