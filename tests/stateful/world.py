"""Three machines of two environments that share a store, and a clock that can be moved.

Their artifacts are only bytes, and each says for which environment and path it was made.
"""

from __future__ import annotations

import itertools
import os
import pickle
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from pytest_compilecache.cache import CacheResult, restore, save
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import Limits
from pytest_compilecache.store import DirectoryStore
from pytest_compilecache.store.prune import PruneResult, prune
from pytest_compilecache.workspace.place import STAMP, Workspace
from tests.stateful.inspection import SeenPack, notes, seen_packs, size_of

ENVIRONMENTS = (Environment({"torch": "2.13.0"}), Environment({"torch": "2.14.0"}))
OWNERS = (ENVIRONMENTS[0], ENVIRONMENTS[0], ENVIRONMENTS[1])  # of the machines
PATHS = (
    *(f"inductor/ab/c{number}.cpp" for number in range(5)),
    "inductor/guarded/fxgraph/ab/key/entry",
    "inductor/triton/0/kernel.cubin",
    "headers/h.h",
)


class World:
    """The store and the machines, below one folder.

    Attributes:
        limits: What everybody who uses the store has set.
        written: Every content that was ever made for an environment and a path.
    """

    def __init__(self, limits: Limits) -> None:
        # In memory, where there is such a place: to sync a disk a thousand times takes minutes.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="compilecache-model-", dir=memory))
        self.store = self.folder / "store"
        self.limits = limits
        self.written: dict[tuple[str, str], set[bytes]] = {}
        self._versions = itertools.count()
        self._fresh = itertools.count()

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder)

    def workspace(self, machine: int | str) -> Workspace:
        """The workspace of a machine."""
        root = self.folder / f"machine-{machine}"
        return Workspace(root, root / "inductor", root / "headers")

    def replace_machine(self, machine: int) -> None:
        """Put a new machine in the place of one."""
        shutil.rmtree(self.workspace(machine).root, ignore_errors=True)

    def write(self, machine: int, path: str, size: int) -> None:
        """Let a compiler make an artifact."""
        environment = OWNERS[machine].id
        version = next(self._versions)
        if is_entry(path):  # they lie beside each other
            path += str(version)
        content = _made(environment, path, version, size)
        self.workspace(machine).prepare(environment)
        location = _location(self.workspace(machine), path)
        location.parent.mkdir(parents=True, exist_ok=True)
        location.write_bytes(content)
        self.written.setdefault((environment, path), set()).add(content)

    def use(self, machine: int, path: str) -> None:
        """Let torch load artifacts whose path begins so."""
        for each, status in self.artifacts(machine).items():
            if each.startswith(path):
                location = _location(self.workspace(machine), each)
                os.utime(location, ns=(time.time_ns(), status.st_mtime_ns))

    def forget_reading(self, machine: int) -> None:
        """Let a file system be one that does not note that files were read."""
        for path, status in self.artifacts(machine).items():
            location = _location(self.workspace(machine), path)
            os.utime(location, ns=(status.st_mtime_ns, status.st_mtime_ns))

    def save(self, machine: int, limits: Limits | None = None, skew: float = 0.0) -> CacheResult:
        """Save what a machine has, by a clock that may be wrong by some seconds."""
        right = time.time
        with mock.patch.object(time, "time", side_effect=lambda: right() + skew):
            return save(
                self.workspace(machine), OWNERS[machine], str(self.store), limits or self.limits
            )

    def restore(self, machine: int) -> CacheResult:
        """Bring to a machine what it lacks."""
        return restore(self.workspace(machine), OWNERS[machine], str(self.store), self.limits)

    def restore_elsewhere(
        self, environment: Environment, *, read_only: bool = False
    ) -> tuple[CacheResult, dict[str, bytes]]:
        """What a new machine gets."""
        workspace = self.workspace(f"fresh-{next(self._fresh)}")
        try:
            result = restore(
                workspace, environment, str(self.store), self.limits, read_only=read_only
            )
            return result, {path: file.read_bytes() for path, file in _artifacts(workspace)}
        finally:
            shutil.rmtree(workspace.root, ignore_errors=True)

    def prune(self) -> PruneResult:
        """Delete from the store what it need not keep."""
        return prune(DirectoryStore(self.store, self.limits), self.limits)

    def let_pass(self, seconds: float) -> None:
        """Make everything older."""
        for location in self.folder.rglob("*"):
            if location.is_file():
                status = location.stat()
                times = (status.st_atime_ns, status.st_mtime_ns)
                os.utime(location, ns=tuple(each - int(seconds * 1e9) for each in times))

    def packs(self) -> list[SeenPack]:
        """The packs in the store, the oldest first."""
        return seen_packs(self.store)

    def notes(self) -> set[str]:
        """The packs in the store that somebody noted as damaged."""
        return notes(self.store)

    def unfinished(self) -> list[float]:
        """When the files were written last that nobody has published yet."""
        files = (self.store / "tmp").glob("*")
        return [file.stat().st_mtime for file in files if file.is_file()]

    def size(self) -> int:
        """What the store takes."""
        return size_of(self.store)

    def artifacts(self, machine: int) -> dict[str, os.stat_result]:
        """What a machine has."""
        return {path: file.stat() for path, file in _artifacts(self.workspace(machine))}

    def content(self, machine: int, path: str) -> bytes:
        """What an artifact of a machine holds. To look does not count as using it."""
        descriptor = os.open(_location(self.workspace(machine), path), os.O_RDONLY | os.O_NOATIME)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()


def is_entry(path: str) -> bool:
    """Whether a path is one of those at which entries of the same key lie."""
    return "/fxgraph/" in path


def identity_of(path: str, content: bytes) -> str:
    """What an artifact has in common with every other one that is as good."""
    if is_entry(path):
        return f"{path.rpartition('/')[0]}: {pickle.loads(content)['graph']}"
    return path


def _made(environment: str, path: str, version: int, size: int) -> bytes:
    head = f"{environment} {path} {version} "
    noise = random.Random(head).randbytes(size)
    if not is_entry(path):
        return head.encode() + noise
    # Those of one environment and size say the same, each in its own words.
    said = f"{environment} {size}"
    entry = {"graph": said, "_time_taken_ns": version, "runnable_graph_str": noise.hex()}
    return pickle.dumps(entry, protocol=4)


def _location(workspace: Workspace, path: str) -> Path:
    area, _, below = path.partition("/")
    return dict(workspace.areas())[area] / below


def _artifacts(workspace: Workspace) -> Iterator[tuple[str, Path]]:
    """What torch could open, and not what a killed process left under a temporary name."""
    for area, folder in workspace.areas():
        for location in folder.rglob("*"):
            below = location.relative_to(folder).as_posix()
            if location.is_file() and location.suffix != ".tmp" and below != STAMP:
                yield f"{area}/{below}", location
