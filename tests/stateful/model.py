"""What must and must not come out of a store, by what was made, saved, damaged and deleted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.environment import Environment
from tests.stateful.inspection import SeenPack
from tests.stateful.world import ENVIRONMENTS, OWNERS, World, identity_of

WELL = {OperationStatus.SUCCESS, OperationStatus.SKIPPED}
# How long a step may take; nothing is claimed of what is so near to an age that counts.
SLACK = 600.0
OVERHEAD = 4096 + 2000  # what is left free for an index, and a description that is new


@dataclass
class Saving:
    """A save, by what was there before it.

    Attributes:
        environment: The id of its environment.
        fresh: What was made or used so lately that it must be in the store afterwards, and not
            about to expire.
        bytes: What the machine has.
        published: When each thing was published last, of what is whole in the store.
        hidden: What a saver takes for whole in the store, because nobody noticed the damage.
        renewed_before: What was published earlier than this is about to expire.
        result: What it returned; nothing when it was killed.
    """

    environment: str
    fresh: set[str]
    bytes: int
    published: dict[str, float]
    hidden: set[str]
    renewed_before: float
    result: CacheResult | None = field(default=None)

    def lost(self, published: dict[str, float]) -> set[str]:
        """What should be in the store now and is not."""
        return self.fresh - published.keys() - self.hidden

    def stale(self, published: dict[str, float]) -> set[str]:
        """What should have been published again now and was not."""
        return {
            each
            for each in self.fresh & self.published.keys() & published.keys() - self.hidden
            if self.published[each] < self.renewed_before - SLACK
            and published[each] <= self.published[each]
        }


class Model:
    """What happened so far, and the checks that follow from it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._damaged: set[tuple[str, str]] = set()
        self._checked: object = None

    def note_damage(self, pack: SeenPack) -> None:
        """A pack is not any more what was published."""
        self._damaged.add((pack.environment, pack.name))

    @contextlib.contextmanager
    def saving(self, machine: int, skew: float = 0.0) -> Iterator[Saving]:
        """What a save acknowledges must be in the store."""
        saving = self._begin(machine, skew)
        with self.deleting(room_for=saving.bytes, environment=saving.environment):
            yield saving
        if saving.result is None:
            return
        result, published = saving.result, self._published(saving.environment)
        lost = saving.lost(published)
        if self._world.limits.store_bytes is None:
            assert result.status in WELL, result
            stale = saving.stale(published)
            assert not stale, f"{stale} was not renewed: {result}"
        elif result.troubles:
            return  # it says that there was no room
        else:
            lost -= saving.published.keys()  # which may have made room
            assert result.status in WELL, result
        assert not lost, f"{lost} was not saved: {result}"

    @contextlib.contextmanager
    def deleting(self, room_for: int = 0, environment: str | None = None) -> Iterator[None]:
        """Whatever is deleted meanwhile must not be needed; a session deletes only its own."""
        before, size, now = self._world.packs(), self._world.size(), time.time()
        yield
        after = self._world.packs()
        left = {(pack.environment, pack.name) for pack in after}
        for pack in before:
            if (pack.environment, pack.name) not in left:
                assert environment in {None, pack.environment}, f"{pack} is another's"
                rivals = [each for each in after if environment in {None, each.environment}]
                evicted = self._is_evicted(pack, rivals, size, room_for)
                assert evicted or self._may_go(pack, now), f"{pack} was needed"

    def check_restored(self, environment: Environment, result: CacheResult) -> None:
        """A restore reports no error where nothing is damaged."""
        packs = self._packs_of(environment.id)
        if all(pack.content.whole for pack in packs):
            assert not result.troubles, result
            nothing = {OperationStatus.DOES_NOT_EXIST}
            assert result.status in (WELL if packs else nothing), result

    def check_files(self, environment: Environment, files: dict[str, bytes]) -> None:
        """A new machine has what is whole in the store, and nothing else."""
        for path, content in files.items():
            assert content in self._world.written.get((environment.id, path), ()), path
        got = _identities(files.items())
        there = self._published(environment.id).keys()
        assert got == there, f"{got - there} came from nowhere, {there - got} did not come"

    def check_store(self) -> None:
        """What is listed is whole or was damaged by us, and the caps hold."""
        limits = self._world.limits
        for pack in self._world.packs():
            known = (pack.environment, pack.name) in self._damaged
            assert pack.content.whole or known, f"{pack.name} is torn"
            assert pack.size <= limits.pack_bytes or known, f"{pack.name} is too large"
        assert limits.store_bytes is None or self._world.size() <= limits.store_bytes

    def check_left_behind(self) -> None:
        """A prune leaves nothing of those that were killed long ago."""
        left = self._world.unfinished()
        assert all(time.time() - each < SLACK for each in left), left

    def check_machines(self) -> None:
        """What torch could open on a machine was made for its environment and that path."""
        for machine, environment in enumerate(OWNERS):
            for path in self._world.artifacts(machine):
                content = self._world.content(machine, path)
                assert content in self._world.written[environment.id, path], path

    def check_restorable(self) -> None:
        """Everything that is whole in the store comes to a new machine, whatever is damaged."""
        seen = [(pack.name, pack.modified, pack.content) for pack in self._world.packs()]
        if seen == self._checked:
            return
        self._checked = seen
        for environment in ENVIRONMENTS:
            result, files = self._world.restore_elsewhere(environment, read_only=True)
            self.check_restored(environment, result)
            self.check_files(environment, files)

    def _begin(self, machine: int, skew: float) -> Saving:
        environment = OWNERS[machine].id
        renewed_before = time.time() + skew - self._world.limits.keep_seconds / 2
        artifacts = self._world.artifacts(machine)
        identities = {
            path: identity_of(path, self._world.content(machine, path)) for path in artifacts
        }
        return Saving(
            environment=environment,
            fresh={
                identities[path]
                for path, status in artifacts.items()
                if max(status.st_atime, status.st_mtime) > renewed_before + SLACK
            },
            bytes=sum(status.st_size for status in artifacts.values()),
            published=self._published(environment),
            hidden=self._hidden(environment),
            renewed_before=renewed_before,
        )

    def _packs_of(self, environment: str) -> list[SeenPack]:
        return [pack for pack in self._world.packs() if pack.environment == environment]

    def _published(self, environment: str) -> dict[str, float]:
        return {
            identity: pack.modified
            for pack in self._packs_of(environment)
            for identity in _identities(pack.content.files)
        }

    def _hidden(self, environment: str) -> set[str]:
        notes = self._world.notes()
        return {
            identity_of(path, content)
            for pack in self._packs_of(environment)
            if pack.name not in notes
            for path in pack.content.paths - pack.intact.keys()
            for content in self._world.written[environment, path]
        }

    def _may_go(self, pack: SeenPack, now: float) -> bool:
        limits = self._world.limits
        age = now - pack.modified
        if age > limits.keep_seconds - SLACK:
            return True
        if age < limits.grace_seconds:
            return False
        if (pack.environment, pack.name) in self._damaged:
            return True
        held = _identities(pack.content.files)
        return held <= self._published(pack.environment).keys()

    def _is_evicted(self, pack: SeenPack, after: list[SeenPack], size: int, room_for: int) -> bool:
        """Whether the limit on the store asked for the oldest to go, of so many bytes."""
        limits = self._world.limits
        if limits.store_bytes is None or time.time() - pack.modified < limits.grace_seconds:
            return False
        oldest = all(each.modified >= pack.modified for each in after)
        return oldest and size > limits.store_bytes - 1.1 * room_for - OVERHEAD


def _identities(files: Iterable[tuple[str, bytes]]) -> set[str]:
    return {identity_of(path, content) for path, content in files}
