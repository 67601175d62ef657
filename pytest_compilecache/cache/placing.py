"""Puts restored files where torch looks for them, each whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_compilecache.workspace.place import make_private_folders

# Containers that share a workspace have the same process ids.
_PREFIX = f".compilecache-{os.getpid()}-{os.urandom(6).hex()}"
_COUNT = itertools.count()
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(slots=True)
class Placing:
    """Writes files below folders that it makes, private to this user."""

    _made: set[str] = field(default_factory=set)

    def write(self, target: str, mode: int, age: int, chunks: Iterable[bytes]) -> None:
        """Write one file.

        Args:
            target: Its place.
            mode: Its mode.
            age: Its times, in nanoseconds.
            chunks: Its content. What iterating raises leaves nothing behind.

        Raises:
            OSError: It cannot be written.
        """
        # By bare calls of the system: ten thousand files take twice as long through file objects.
        folder = os.path.dirname(target)  # noqa: PTH120
        if folder not in self._made:
            make_private_folders(Path(folder))
            self._made.add(folder)
        name = f"{folder}/{_PREFIX}{next(_COUNT):x}.tmp"
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


def _write_all(handle: int, chunk: bytes) -> None:
    written = os.write(handle, chunk)
    while written < len(chunk):
        written += os.write(handle, memoryview(chunk)[written:])
