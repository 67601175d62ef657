"""A store in a folder, on a local or a mounted file system. It never writes in place.

An object is written to a file of its own in ``tmp/``, synced, and then linked
to its key: a hard link is the one call that makes a whole file visible and
fails when there is one already, so that whoever raced knows who won. A file
system without hard links gets a rename instead; there the loser of a race
replaces what the winner wrote, which under a name that says the content is
the same. Either way ``tmp/`` must be on the file system of the rest.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pytest_compilecache.errors import StoreError
from pytest_compilecache.store.base import (
    Listing,
    ObjectMissingError,
    StoredObject,
    check_key,
    is_key,
)
from pytest_compilecache.store.refusals import StoreFile, explained

_TEMPORARY = "tmp"
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_SHARED_FOLDER, _SHARED_FILE = 0o775, 0o664  # less the umask; never writable by everybody

_NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF})


class DirectoryStore:
    """A store in a folder, which is made by the first object that is staged.

    A root that is made here is private to its user, and what is in a private
    root stays so. In a root that was there before, the umask decides, except
    that nothing is writable by everybody.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100  (resolve() would follow links)

    @property
    def url(self) -> str:
        """Where it is, as a person would name it."""
        return self._root.as_uri()

    def list(self, prefix: str) -> Listing:
        """All objects below a prefix, sorted by key."""
        folder = self._path(prefix) if prefix else self._root
        with explained(folder):
            try:
                found = [*_walk(folder, prefix)]
            except NotADirectoryError:
                self._check_root()
                found = []
        return sorted(found, key=lambda each: each.key)

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading.

        Raises:
            ObjectMissingError: There is none.
        """
        path = self._path(key)
        with explained(path):
            try:
                raw = StoreFile(path, "r", opener=_open_without_waiting)
            except (FileNotFoundError, IsADirectoryError):
                raise ObjectMissingError(path) from None
            except NotADirectoryError:
                self._check_root()
                raise ObjectMissingError(path) from None
        if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            raw.close()
            raise StoreError(path, "it is not a regular file", "remove it")
        return io.BufferedReader(raw)

    @contextlib.contextmanager
    def stage(self) -> Iterator[_StagedFile]:
        """Begin an object; what is not published inside the context is dropped."""
        with explained(self._root):
            folder_mode, file_mode = self._prepare_root()
            folder = self._root / _TEMPORARY
            _make_folder(folder, folder_mode)
            staged = _StagedFile(self, folder / _temporary_name(), file_mode, folder_mode)
        try:
            yield staged
        finally:
            staged.discard()

    def delete(self, key: str) -> None:
        """Remove an object, or do nothing when it is missing."""
        path = self._path(key)
        with explained(path):
            try:
                path.unlink()
            except (FileNotFoundError, IsADirectoryError):
                pass
            except NotADirectoryError:
                self._check_root()

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*check_key(key).split("/"))

    def _check_root(self) -> None:
        """Raise when it is the root that is no folder, and not something below it."""
        if not self._root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self._root))

    def _prepare_root(self) -> tuple[int, int]:
        if not self._root.is_dir():
            _make_folder(self._root.parent, _SHARED_FOLDER)
            _make_folder(self._root, _PRIVATE_FOLDER)
        private = not self._root.stat().st_mode & 0o077
        return (_PRIVATE_FOLDER, _PRIVATE_FILE) if private else (_SHARED_FOLDER, _SHARED_FILE)


class _StagedFile:
    """A file in ``tmp/`` that becomes an object, or nothing."""

    def __init__(self, store: DirectoryStore, path: Path, file_mode: int, folder_mode: int) -> None:
        self._store = store
        self._path = path
        self._folder_mode = folder_mode
        self._published = False
        self._raw = StoreFile(path, "x", opener=lambda name, flags: os.open(name, flags, file_mode))
        self._file = io.BufferedWriter(self._raw)

    @property
    def file(self) -> BinaryIO:
        """Where its bytes are written to."""
        return self._file

    def publish(self, key: str) -> bool:
        """Make what was written visible under a key, once."""
        target = self._store._path(key)  # noqa: SLF001  (a part of the store)
        if self._published:
            raise StoreError(target, "what was staged is published already", "stage it again")
        with explained(target):
            self._file.flush()
            os.fsync(self._raw.fileno())  # or a power failure leaves the name of an empty file
            self._file.close()
            _make_folder(target.parent, self._folder_mode)
            made = _create(self._path, target)
            self._published = True
            # Also when another process made it: it may not have come so far yet.
            _sync_folder(target.parent)
        return made

    def discard(self) -> None:
        """Remove the temporary name."""
        self._raw.close()  # before its buffer, whose flush to a full disk would raise once more
        with contextlib.suppress(OSError):
            self._path.unlink()


def _create(temporary: Path, target: Path) -> bool:
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


def _make_folder(folder: Path, mode: int) -> None:
    """Make a folder and its parents so that they outlive a power failure."""
    try:
        folder.mkdir(mode)
    except FileNotFoundError:
        _make_folder(folder.parent, mode)
        _make_folder(folder, mode)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)
            ) from None
    else:
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:  # some FUSE and SMB mounts cannot
            raise
    finally:
        os.close(descriptor)


def _walk(folder: Path, prefix: str) -> Iterator[StoredObject]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            key = f"{prefix}/{entry.name}" if prefix else entry.name
            if not is_key(key):  # tmp/, and what is not ours
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), key)
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # deleted since the listing
                    status = entry.stat(follow_symlinks=False)
                    yield StoredObject(key, status.st_size, status.st_mtime)


def _open_without_waiting(path: str, flags: int) -> int:
    # A pipe under the name of a pack would hold its reader for ever.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _temporary_name() -> str:
    # Containers that share a volume have the same process ids, and often one host name.
    host = re.sub(r"[^A-Za-z0-9-]", "-", os.uname().nodename)[:40]
    return f"{host}-{os.getpid()}-{os.urandom(8).hex()}"
