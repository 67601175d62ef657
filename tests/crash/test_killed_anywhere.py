"""Savers, restorers and pruners are killed wherever they are, over and over, on one store.

What a saver acknowledged is never lost, no torn file is ever restored, nobody
cleans up, and the next one neither waits nor fails.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.crash.artifacts import names, present, put, wrong
from tests.crash.extent import SOAK, stride
from tests.crash.prepared import Ending, Prepared
from tests.crash.site import Site
from tests.crash.verification import pack_names, store_faults

LOG = logging.getLogger(__name__)

KILLS_IN_A_WORLD = 25 if SOAK else 8
WORLDS = 80 if SOAK else 3
# One second was asked for; a machine that also does other work may take a few.
NEXT_ONE_SECONDS = 5.0
ACKNOWLEDGED = {"success", "skipped"}
SAVERS = ("first", "second")
RESTORER = "restorer"


@dataclass
class World:
    """A store that outlives many kills, and what is known of it.

    Attributes:
        made: What is in each saver's workspace.
        acknowledged: What a save has said to be in the store.
        saves: How many saves have said so.
        seconds: How long each operation took when it was not killed.
    """

    prepared: Prepared
    site: Site
    dice: random.Random
    made: dict[str, set[str]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    saves: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    serial: Iterator[int] = field(default_factory=itertools.count)

    def run(self, operation: str, machine: str, **fate: float) -> Ending:
        """Let somebody do something, and believe what he says, even if he is killed then."""
        ending = self.prepared.run(
            operation=operation, folder=self.site.folder, machine=machine, **fate
        )
        assert ending.told != "raised", ending.raised
        if operation in {"save", "compact"} and ending.told in ACKNOWLEDGED:
            self.acknowledged |= self.made[machine]
            self.saves += 1
        return ending

    def run_to_the_end(self, operation: str, machine: str) -> None:
        """The one after the kill: it succeeds, and at once."""
        ending = self.run(operation, machine)
        assert ending.told in {*ACKNOWLEDGED, "pruned"}, (operation, ending)
        assert ending.seconds < NEXT_ONE_SECONDS, (operation, ending)
        self.seconds[operation] = ending.seconds

    def compile(self, machine: str) -> None:
        """Make something new on a machine."""
        first = next(self.serial) * 5
        large = self.dice.random() < 0.1
        paths = names(machine[0], self.dice.randrange(1, 5), first=first, large=large)
        self.made.setdefault(machine, set()).update(put(self.site.workspace(machine), paths))

    def begin(self) -> None:
        """A first session on every machine."""
        for machine in SAVERS:
            self.site.restore(machine)
            self.compile(machine)
            self.run_to_the_end("save", machine)
            self.compile(machine)
            self.run_to_the_end("compact", machine)
        self.run_to_the_end("restore", RESTORER)
        self.run_to_the_end("prune", "")

    def choose(self) -> tuple[str, str]:
        """Who shall do what next."""
        operation = self.dice.choice(["save", "compact", "compact", "restore", "prune"])
        if operation == "restore":
            if self.dice.random() < 0.5:
                self.site.forget(RESTORER)
            return operation, RESTORER
        machine = self.dice.choice(SAVERS)
        if operation != "prune":
            self.compile(machine)
        return operation, machine

    def copy(self, folder: Path) -> World:
        """The same elsewhere."""
        made = {machine: set(paths) for machine, paths in self.made.items()}
        return replace(
            self, site=self.site.copy(folder), made=made, acknowledged=set(self.acknowledged)
        )

    def check(self, note: object) -> None:
        """Restore everything on a new machine, and compare."""
        assert store_faults(self.site.store) == [], note
        for machine in (RESTORER, *SAVERS):
            assert wrong(self.site.workspace(machine)) == [], note
        self.site.forget("fresh")
        self.run_to_the_end("restore", "fresh")
        fresh = self.site.workspace("fresh")
        assert self.acknowledged - present(fresh) == set(), note
        assert wrong(fresh) == [], note

    def left_behind(self) -> list[Path]:
        """Unfinished files that are still there after everybody has come by a day later."""
        for file in self.unfinished():
            os.utime(file, (0, 0))
        for machine in (RESTORER, *SAVERS):
            self.run_to_the_end("restore", machine)
        self.run_to_the_end("prune", "")
        return self.unfinished()

    def unfinished(self) -> list[Path]:
        """Files that nobody has brought to their end."""
        staged = [each for each in (self.site.store / "tmp").iterdir() if each.is_file()]
        roots = [self.site.workspace(machine).root for machine in (RESTORER, *SAVERS)]
        left = [file for root in roots for file in root.rglob("*.tmp")]
        return staged + [file for file in left if file.parent.name != "quarantine"]


@pytest.mark.parametrize("seed", range(WORLDS))
def test_nothing_acknowledged_is_lost_however_often_somebody_is_killed(
    seed: int, prepared: Prepared, folder: Path
):
    world = World(prepared, Site(folder), random.Random(seed))
    world.begin()
    kills = 0
    for turn in range(6 * KILLS_IN_A_WORLD):
        operation, machine = world.choose()
        moment = world.dice.uniform(0.0, world.seconds[operation])
        ending = world.run(operation, machine, kill_after=moment)
        note = f"turn {turn}: {operation} of {machine!r} after {moment:.5f} s: {ending}"
        LOG.info(note)
        kills += ending.killed
        world.check(note)
        world.run_to_the_end(operation, machine)
        if kills == KILLS_IN_A_WORLD:
            break
    assert kills == KILLS_IN_A_WORLD, "most came to their end: the moments are chosen too late"
    world.check("at the end")
    assert len(pack_names(world.site.store)) < world.saves, "nothing was ever merged and pruned"


@pytest.fixture(params=["save", "compact", "restore", "prune"])
def killed(
    request: pytest.FixtureRequest, prepared: Prepared, folder: Path
) -> Iterator[tuple[World, str]]:
    """One world after another, in each of which somebody was killed one change later."""
    operation = request.param
    before = World(prepared, Site(folder / "before"), random.Random(operation))
    before.begin()
    for machine in SAVERS:
        before.compile(machine)
    before.site.forget(RESTORER)
    return killed_at_each_change(before, operation, folder / "world")


def killed_at_each_change(
    before: World, operation: str, folder: Path
) -> Iterator[tuple[World, str]]:
    machine = RESTORER if operation == "restore" else SAVERS[0]
    for position in itertools.count(1, stride(7) if operation == "restore" else stride(2)):
        world = before.copy(folder)
        ending = world.run(operation, machine, kill_at=position)
        yield world, f"{operation} killed at change {position}: {ending}"
        world.site.remove()
        if not ending.killed:
            assert position > 3, "it was hardly ever killed"
            return


def test_nothing_is_lost_before_whichever_change_a_process_is_killed_and_nothing_is_left(
    killed: Iterator[tuple[World, str]],
):
    for world, note in killed:
        world.check(note)
        for operation in ("restore", "compact", "prune"):
            world.run_to_the_end(operation, RESTORER if operation == "restore" else SAVERS[0])
        world.check(note)
        assert world.left_behind() == [], note  # a day later
