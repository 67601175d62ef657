"""Gives whole files their names in a store's folder, so that they outlive a power failure.

What was written is synced and then linked to its key: a hard link is the one
call that makes a whole file visible and fails when there is one already, so
that whoever raced knows who won. A file system without hard links gets a rename
instead; there the loser of a race replaces what the winner wrote, which under a
name that says the content is the same.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pytest_compilecache.errors import StoreError
from pytest_compilecache.store.refusals import explained
from pytest_compilecache.store.staging import StagedFile

_NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF})


class StagedObject:
    """A file in ``tmp/`` that becomes an object, or nothing.

    Args:
        raw: The file.
        folder_mode: The mode of folders that its key needs.
        way_to: The place of a key, once it is sure that no link leads elsewhere.
    """

    def __init__(self, raw: StagedFile, folder_mode: int, way_to: Callable[[str], Path]) -> None:
        self._path = Path(raw.name)
        self._folder_mode = folder_mode
        self._way_to = way_to
        self._published = False
        self._raw = raw
        self._file = io.BufferedWriter(raw)

    def discard(self) -> None:
        """Remove the temporary name."""
        self._raw.close()  # before its buffer, whose flush to a full disk would raise once more
        with contextlib.suppress(OSError):
            self._path.unlink()

    @property
    def file(self) -> BinaryIO:
        """Where its bytes are written to."""
        return self._file

    def publish(self, key: str) -> bool:
        """Make what was written visible under a key, once."""
        target = self._way_to(key)
        if self._published:
            raise StoreError(target, "what was staged is published already", "stage it again")
        with explained(target):
            self._file.flush()
            os.fsync(self._raw.fileno())  # or a power failure leaves the name of an empty file
            make_folder(target.parent, self._folder_mode)
            made = create(self._path, target)
            self._published = True
            # Also when another process made it: it may not have come so far yet.
            _sync_folder(target.parent)
        return made


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder and its parents so that they outlive a power failure.

    Raises:
        OSError: It cannot be made.
    """
    try:
        _make_one(folder, mode)
    except FileNotFoundError:
        make_folder(folder.parent, mode)
        _make_one(folder, mode)  # raises in folders such as /proc, which are there and take none


def _make_one(folder: Path, mode: int) -> None:
    try:
        folder.mkdir(mode)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)
            ) from None
    else:
        _sync_folder(folder.parent)


def create(temporary: Path, target: Path) -> bool:
    """Give a file its name, or leave the one that has it; whether it was given.

    Raises:
        OSError: It cannot be given.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        # A network file system that repeats a request, because the answer to
        # the first was lost, says this of the link that it has just made.
        return temporary.samefile(target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():
            return False
        temporary.replace(target)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:  # some FUSE and SMB mounts cannot
            raise
    finally:
        os.close(descriptor)
