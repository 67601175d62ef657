"""What an operating system's refusal means, in words. It hides none and retries nothing."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_compilecache.errors import StoreError
from pytest_compilecache.store.base import StoreAccessError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_FREE_SPACE = "free space there, prune the store, or lower the limit on the size of a save"
_GIVE_ACCESS = "give this user access to the store's folder, or name another store"
_REFUSALS = {
    errno.ENOTDIR: (
        "there is a file instead of a folder",
        "move the file away, or name another store",
    ),
    errno.EACCES: ("permission was refused", _GIVE_ACCESS),
    errno.EPERM: ("permission was refused", _GIVE_ACCESS),
    errno.ENOSPC: ("the disk is full", _FREE_SPACE),
    errno.EDQUOT: ("the disk quota is used up", _FREE_SPACE),
    errno.EROFS: (
        "the file system is mounted read-only",
        "mount it writable, or do not save to this store",
    ),
    errno.ELOOP: (
        "a symbolic link is in the way, and links inside a store are not followed",
        "put the file itself there",
    ),
}
_OTHERWISE = "look at the disk, or at the network mount"


@contextlib.contextmanager
def explained(subject: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an ``OSError`` inside the context into a ``StoreError`` about the subject."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason, remedy = _REFUSALS.get(error.errno or 0, (error.strerror or str(error), _OTHERWISE))
        where = error.filename or subject
        raise StoreAccessError(os.fsdecode(where), reason, remedy, code=error.errno) from error


class StoreFile(io.FileIO):
    """A file whose trouble is told in words."""

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read up to the buffer's size."""
        with explained(self.name):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        """Read what is left."""
        with explained(self.name):
            return super().readall()

    def close(self) -> None:
        """Close it; a network file system tells only then what it could not write."""
        with explained(self.name):
            super().close()

    def write(self, piece: ReadableBuffer) -> int:
        """Write what there is room for."""
        with explained(self.name):
            return super().write(piece)
