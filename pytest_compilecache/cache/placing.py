"""Puts restored files where torch looks for them, each whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_compilecache.workspace.place import make_private_folders

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def _new_prefix() -> str:
    # Containers that share a workspace have the same process ids; and what a fork that
    # was killed left must not be in its parent's way.
    return f".compilecache-{os.getpid()}-{os.urandom(6).hex()}"


@dataclass(slots=True)
class Placing:
    """Writes files below folders that it makes, private to this user, and never through a link.

    Attributes:
        roots: The folders below which it writes. They may be links themselves.
    """

    roots: Collection[str]
    _made: set[str] = field(default_factory=set)
    _prefix: str = field(default_factory=_new_prefix)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def write(self, target: str, mode: int, age: int, chunks: Iterable[bytes]) -> None:
        """Write one file.

        Args:
            target: Its place.
            mode: Its mode.
            age: Its times, in nanoseconds.
            chunks: Its content. What iterating raises leaves nothing behind.

        Raises:
            OSError: It cannot be written; NotADirectoryError when a link is in the way.
        """
        # By bare calls of the system: ten thousand files take twice as long through file objects.
        folder = os.path.dirname(target)  # noqa: PTH120
        if folder not in self._made:
            self._refuse_links(folder)
            make_private_folders(Path(folder))
            self._made.add(folder)
        name = f"{folder}/{self._prefix}{next(self._count):x}.tmp"
        handle = os.open(name, _CREATE, mode)
        try:
            try:
                for chunk in chunks:
                    _write_all(handle, chunk)
                os.utime(handle, ns=(age, age))
            finally:
                os.close(handle)
            os.replace(name, target)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise

    def _refuse_links(self, folder: str) -> None:
        """Raise where a link below a root would lead out of it, to where a scan finds nothing."""
        for each in map(str, (folder, *Path(folder).parents)):
            if each in self.roots or each in self._made:
                return
            if os.path.islink(each):  # noqa: PTH114
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), each)


def _write_all(handle: int, chunk: bytes) -> None:
    written = os.write(handle, chunk)
    while written < len(chunk):
        written += os.write(handle, memoryview(chunk)[written:])
