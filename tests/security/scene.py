"""A machine with a store, a workspace, and around them files that nothing may touch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pytest_compilecache.cache import CacheResult, OperationStatus, restore, save
from pytest_compilecache.environment import Environment
from pytest_compilecache.workspace.place import STAMP, Workspace

Result = TypeVar("Result")

ENVIRONMENT = Environment({"torch": "2.13.0", "python": "3.11", "machine": "x86_64"})
GOOD = "inductor/good/cgood.main.cpp"
GOOD_CONTENT = b"int good;\n"
PROJECT = Path(__file__).parents[2]
UNEXPECTED = "please report this"  # the remedy of an error that nobody thought of


@dataclass(slots=True)
class Scene:
    """The folders.

    Attributes:
        root: Holds the store, files of others, and the home of a user with a workspace
            far down in it, so that a path that climbs out still ends in here.
        good: The pack that is there from the beginning.
    """

    root: Path
    good: Path = Path()

    @property
    def store(self) -> Path:
        return self.root / "srv" / "store"

    @property
    def shelf(self) -> Path:
        return self.store / "v1" / ENVIRONMENT.id

    @property
    def packs(self) -> Path:
        return self.shelf / "packs"

    @property
    def workspace(self) -> Workspace:
        root = self.home / ".cache" / "compilecache" / "v1" / "here"
        return Workspace(root, root / "inductor", root / "headers")

    @property
    def home(self) -> Path:
        return self.root / "home" / "user"

    def prepare(self) -> None:
        """Lay out the files, and a store with one good pack."""
        for name in ("etc/passwd", "home/user/.bashrc", "home/user/.cache/other", "srv/secret"):
            location = self.root / name
            location.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            location.write_text(f"secret of {name}\n")
        self.workspace.prepare(ENVIRONMENT.id)
        self.write(GOOD, GOOD_CONTENT)
        assert self.save().status is OperationStatus.SUCCESS
        (self.good,) = self.packs.iterdir()
        self.forget()

    def write(self, path: str, content: bytes) -> None:
        """A file in the workspace."""
        area, _, below = path.partition("/")
        location = dict(self.workspace.areas())[area] / below
        location.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        location.write_bytes(content)

    def add(self, content: bytes, name: str, *, age: float = 0.0) -> Path:
        """Put a pack into the store, older than the good one by some seconds."""
        location = self.packs / f"{name}.pack"
        location.write_bytes(content)
        time = self.good.stat().st_mtime - age
        os.utime(location, (time, time))
        return location

    def restore(self, *, notes: bool = True) -> CacheResult:
        """Restore; without notes on bad packs, each of which waits for the disk, it is faster."""
        return restore(self.workspace, ENVIRONMENT, str(self.store), read_only=not notes)

    def save(self) -> CacheResult:
        return save(self.workspace, ENVIRONMENT, str(self.store))

    def restore_apart(self, *packs: Path) -> tuple[CacheResult, int]:
        """Restore in a process of its own.

        Args:
            packs: Packs that come into the store just before.

        Returns:
            The result, and the bytes of memory that it took.
        """
        command = [sys.executable, "-m", "tests.security.restore_apart", self.root, *packs]
        done = subprocess.run(
            [str(word) for word in command], cwd=PROJECT, timeout=60, check=True, stdout=-1
        )
        told = json.loads(done.stdout)
        took = told.pop("took")
        return CacheResult.from_mapping(told), took

    def forget(self) -> None:
        """An empty workspace, and a store of the good pack alone, without notes about others."""
        shutil.rmtree(self.workspace.root, ignore_errors=True)
        self.workspace.prepare(ENVIRONMENT.id)
        shutil.rmtree(self.shelf / "suspect", ignore_errors=True)
        for each in self.packs.iterdir():
            if each != self.good:
                each.unlink()

    def restored(self) -> dict[str, bytes]:
        """The artifacts in the workspace, which must be plain private files."""
        found: dict[str, bytes] = {}
        for location in self.workspace.root.rglob("*"):
            status = location.lstat()
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode):
                assert not mode & 0o022, location
                continue
            assert stat.S_ISREG(status.st_mode), location
            assert status.st_nlink == 1, location
            assert mode in {0o600, 0o700} or self._is_ours(location), location
            assert not location.name.endswith(".tmp"), location
            if not self._is_ours(location):
                found[location.relative_to(self.workspace.root).as_posix()] = location.read_bytes()
        return found

    def _is_ours(self, location: Path) -> bool:
        state = self.workspace.state
        return location == self.workspace.inductor / STAMP or state in location.parents

    def outside(self) -> dict[str, tuple[object, ...]]:
        """Everything that neither a restore nor the notes of one may change."""
        skipped = {self.workspace.root, self.shelf / "suspect", self.store / "tmp"}
        found: dict[str, tuple[object, ...]] = {}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if Path(folder, name) not in skipped]
            for name in (*folders, *files):
                location = Path(folder, name)
                found[location.relative_to(self.root).as_posix()] = _identity(location)
        return found

    def stamp(self) -> str:
        """What the workspace says whose it is."""
        return (self.workspace.inductor / STAMP).read_text()


def _identity(location: Path) -> tuple[object, ...]:
    status = location.lstat()
    if stat.S_ISLNK(status.st_mode):
        return ("link", str(location.readlink()))
    if not stat.S_ISREG(status.st_mode):
        return (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode))
    content = hashlib.sha256(location.read_bytes()).hexdigest()
    return (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, content)


def in_time(act: Callable[[], Result], *, seconds: float = 30.0) -> Result:
    """What a function returns that may not wait for ever, as on a pipe that nobody writes to."""
    done: list[Result] = []
    thread = threading.Thread(target=lambda: done.append(act()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert done, "it failed, or is still waiting"
    return done[0]


def assert_told_well(result: CacheResult) -> None:
    """Troubles have a reason that a terminal can show, and none is a surprise."""
    for each in result.troubles:
        assert each.reason
        assert each.remedy != UNEXPECTED, each
        assert str(each).isprintable(), ascii(str(each))
        assert len(str(each)) < 1500, each
