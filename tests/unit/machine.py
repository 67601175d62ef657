"""A machine that restores and saves artifacts that are only bytes, and a look into its store."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pytest_compilecache.cache import CacheResult, restore, save
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import Limits
from pytest_compilecache.workspace.place import Workspace

ENVIRONMENT = Environment({"torch": "2.13.0"})
LIMITS = Limits(fan=3, grace_seconds=0, free_bytes=0)


class Place:
    """A machine's workspace."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root, root / "inductor", root / "headers")
        self.workspace.prepare(ENVIRONMENT.id)

    def write(self, name: str, content: bytes = b"", *, used: bool = False) -> None:
        path = self.workspace.inductor / "ab" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content or os.urandom(2000))
        now = time.time_ns()
        os.utime(path, ns=(now + used * 10**9, now))

    def touch(self, name: str) -> None:
        path = self.workspace.inductor / "ab" / name
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def files(self) -> dict[str, bytes]:
        folder = self.workspace.inductor / "ab"
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}

    def save(self, store: Path, limits: Limits = LIMITS) -> CacheResult:
        return save(self.workspace, ENVIRONMENT, str(store), limits)

    def restore(self, store: Path, limits: Limits = LIMITS) -> CacheResult:
        return restore(self.workspace, ENVIRONMENT, str(store), limits)


def packs(store: Path) -> list[Path]:
    return sorted(store.rglob("*.pack"))


def age(store: Path, seconds: float) -> None:
    """Let everything in the store have been published earlier."""
    for path in store.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))
