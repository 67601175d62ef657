"""A store, the workspaces of some machines, and what can be done with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_compilecache.cache import CacheResult, restore, save
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.store import DirectoryStore
from pytest_compilecache.store.prune import PruneResult, prune
from pytest_compilecache.workspace.place import Workspace, choose_workspace

ENVIRONMENT = Environment({"torch": "2.13.0", "os": "linux", "machine": "x86_64"})

# No grace: whatever is superseded or unfinished may go at once, so that a prune has work.
PRUNING = Limits(grace_seconds=0.0, incomplete_seconds=0.0)
MERGING = Limits(fan=2, store_bytes=1 << 30)  # so that the turn at the size is taken, too
NEVER_MERGING = Limits(fan=10_000)


@dataclass(frozen=True)
class Site:
    """Everything below one folder, which can be copied."""

    folder: Path

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return self.folder / "shared" / "store"

    def workspace(self, machine: str) -> Workspace:
        """The workspace of a machine, which may not be there yet."""
        return choose_workspace(self.folder / machine, ENVIRONMENT.id, None)

    def copy(self, folder: Path) -> Site:
        """The same elsewhere."""
        return Site(Path(shutil.copytree(self.folder, folder)))

    def remove(self) -> None:
        """Delete it."""
        shutil.rmtree(self.folder)

    def forget(self, machine: str) -> None:
        """Put a new machine in the place of one."""
        shutil.rmtree(self.folder / machine, ignore_errors=True)

    def save(self, machine: str, limits: Limits = NEVER_MERGING) -> CacheResult:
        """Save what is new on a machine."""
        return save(self.workspace(machine), ENVIRONMENT, str(self.store), limits)

    def compact(self, machine: str) -> CacheResult:
        """Save what is new on a machine, and merge packs."""
        return self.save(machine, MERGING)

    def restore(self, machine: str, limits: Limits = DEFAULT_LIMITS) -> CacheResult:
        """Bring to a machine what it lacks."""
        return restore(self.workspace(machine), ENVIRONMENT, str(self.store), limits)

    def prune(self, machine: str = "") -> PruneResult:
        """Delete what the store need not keep; that is nobody's machine's business."""
        return prune(DirectoryStore(self.store), PRUNING)


Operation = Callable[[Site, str], CacheResult | PruneResult]
OPERATIONS: dict[str, Operation] = {
    "save": Site.save,
    "compact": Site.compact,
    "restore": Site.restore,
    "prune": Site.prune,
}
