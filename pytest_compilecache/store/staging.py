"""Files of a store that are being written. None outgrows its limit, and none its writer's life."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

from pytest_compilecache.errors import StoreError
from pytest_compilecache.store.refusals import StoreFile

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_BETWEEN_CREATION_AND_LOCK_SECONDS = 5.0
_NAME = re.compile(r"[A-Za-z0-9-]{1,40}-[0-9]+-[0-9a-f]{16}\.staged")


class StoreFullError(StoreError):
    """What is being written would take more than is allowed, or than the disk has.

    Attributes:
        size: What it would come to, in bytes.
        limit: What is allowed, in bytes.
    """

    def __init__(
        self, subject: object, reason: str, remedy: str = "", *, size: int = 0, limit: int = 0
    ) -> None:
        super().__init__(subject, reason, remedy)
        self.size = size
        self.limit = limit

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return *self.__reduce__(), {"size": self.size, "limit": self.limit}


class StagedFile(StoreFile):
    """A new file that is locked while its writer lives.

    Args:
        path: Its temporary name.
        mode: Its mode.
        store: What a person is told about when there is no room.
        room: Bytes that it may take; None for no bound.
        free_bytes: Bytes of the disk that are left to others.
    """

    def __init__(
        self, path: Path, mode: int, *, store: Path, room: int | None, free_bytes: int
    ) -> None:
        super().__init__(path, "x", opener=lambda name, flags: os.open(name, flags, mode))
        self._store = store
        self._room = room
        self._free_bytes = free_bytes
        self._written = 0
        self.locked = lock(self.fileno())

    def write(self, piece: ReadableBuffer) -> int:
        """Write what there is room for, or nothing and raise."""
        size = memoryview(piece).nbytes
        self._check_room(size)
        written = super().write(piece)
        self._written += written
        return written

    def _check_room(self, size: int) -> None:
        if self._room is not None and self._written + size > self._room:
            raise StoreFullError(
                self._store,
                f"a save of {self._written + size:,} bytes or more does not fit into the "
                f"{max(self._room, 0):,} bytes that its limit leaves",
                "prune it, or raise the limit on the size of the store",
                size=self._written + size,
                limit=self._room,
            )
        disk = os.fstatvfs(self.fileno())
        free = disk.f_bavail * disk.f_frsize
        if self._free_bytes and free - size < self._free_bytes:
            raise StoreFullError(
                self._store,
                f"the disk has {free:,} bytes left, of which {self._free_bytes:,} are not touched",
                "free space there, or name another store",
                size=size,
                limit=max(free - self._free_bytes, 0),
            )


def lock(descriptor: int) -> bool:
    """Take the kernel lock of an open file if it is free; False where there is none to take."""
    from filelock import lock_descriptor  # noqa: PLC0415

    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:  # a file system without locks
        return False


def sweep(folder: Path, now: float, seconds: float, *, kernel: bool) -> None:
    """Remove the files of writers that died, and nothing that has another name than theirs.

    Args:
        folder: Where files are staged. It may have been there before the store.
        now: The time by the clock of the folder's file system.
        seconds: The age at which one goes whose writer cannot be told to be alive.
        kernel: Whether a free kernel lock tells that its writer is dead.
    """
    least = _BETWEEN_CREATION_AND_LOCK_SECONDS if kernel else seconds
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not _NAME.fullmatch(entry.name):
                continue
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                old = now - status.st_mtime > least
                if stat.S_ISREG(status.st_mode) and old and (not kernel or _is_orphan(entry.path)):
                    Path(entry.path).unlink()


def staged_bytes(folder: Path) -> int:
    """Bytes of the files that are being written, or that their writers left when they died."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):  # published since the listing
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _is_orphan(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return lock(descriptor)
    finally:
        os.close(descriptor)


def temporary_name() -> str:
    """A name that nobody else takes."""
    # Containers that share a volume have the same process ids, and often one host name.
    host = re.sub(r"[^A-Za-z0-9-]", "-", os.uname().nodename)[:40]
    return f"{host or 'host'}-{os.getpid()}-{os.urandom(8).hex()}.staged"
