"""A store in a folder, on a local or a mounted file system. It never writes in place.

An object is written to a file of its own in ``tmp/``, which must be on the file
system of the rest, and gets its key when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pytest_compilecache._filesystem import kernel_locks_hold
from pytest_compilecache.errors import StoreError
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.store.base import (
    LAYOUT,
    Listing,
    ObjectMissingError,
    PartlyListedError,
    StoreAccessError,
    StoredObject,
    check_key,
    check_prefix,
    is_key,
)
from pytest_compilecache.store.publishing import StagedObject, make_folder
from pytest_compilecache.store.refusals import StoreFile, explained
from pytest_compilecache.store.staging import StagedFile, staged_bytes, sweep, temporary_name
from pytest_compilecache.store.turns import Turns

_TEMPORARY = "tmp"
_TURNS = "turns"  # inside it
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
_TROUBLE_OF_ONE_FOLDER = frozenset({errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE})
_SHARED_FOLDER, _SHARED_FILE = 0o775, 0o664  # less the umask; never writable by everybody


class DirectoryStore:
    """A store in a folder, which is made by the first object that is staged.

    A root that is made here is private to its user, and what is in a private
    root stays so. In a root that was there before, the umask decides, except
    that nothing is writable by everybody.

    Args:
        root: The folder.
        limits: What those who write to it may take.
        kernel_locks: Whether kernel locks can be trusted there; by default its kind of
            file system tells.
        deadline: When to wait for a turn no longer, by ``time.monotonic``.
    """

    def __init__(
        self,
        root: Path,
        limits: Limits = DEFAULT_LIMITS,
        *,
        kernel_locks: bool | None = None,
        deadline: float = math.inf,
    ) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100  (resolve() would follow links)
        self._limits = limits
        self._kernel_locks = kernel_locks
        self._deadline = deadline

    @property
    def url(self) -> str:
        """Where it is, as a person would name it."""
        return self._root.as_uri()

    def list(self, prefix: str) -> Listing:
        """All objects below a prefix, sorted by key."""
        folder = self._root.joinpath(*check_prefix(prefix).split("/"))
        refused: dict[str, StoreAccessError] = {}
        with explained(folder):
            try:
                self._refuse_links(folder)
                found = [*_walk(folder, prefix, refused)]
            except NotADirectoryError:
                self._check_root()
                found = []
        found.sort(key=lambda each: each.key)
        if refused:
            raise PartlyListedError.of(found, refused)
        return found

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading.

        Raises:
            ObjectMissingError: There is none.
        """
        path = self._path(key)
        with explained(path):
            try:
                self._refuse_links(path.parent)
                raw = StoreFile(path, "r", opener=_open_without_waiting)
            except (FileNotFoundError, IsADirectoryError):
                raise ObjectMissingError(path) from None
            except NotADirectoryError:
                self._check_root()
                raise ObjectMissingError(path) from None
            try:
                regular = stat.S_ISREG(os.fstat(raw.fileno()).st_mode)
            except BaseException:
                raw.close()
                raise
        if not regular:
            raw.close()
            raise StoreError(path, "it is not a regular file", "remove it")
        return io.BufferedReader(raw)

    @contextlib.contextmanager
    def stage(self) -> Iterator[StagedObject]:
        """Begin an object; what is not published inside the context is dropped.

        Raises:
            StoreBusyError: Too many others write to the store.
            StoreFullError: In the context, when there is no room for what is written.
        """
        with contextlib.ExitStack() as stack:
            with explained(self._root):
                folder_mode, file_mode = self._prepare_root()
                room = self._take_turn(stack, folder_mode, file_mode)
                file = StagedFile(
                    self._root / _TEMPORARY / temporary_name(),
                    file_mode,
                    store=self._root,
                    room=room,
                    free_bytes=self._limits.free_bytes,
                )
                staged = StagedObject(file, folder_mode, self._way_to)
                stack.callback(staged.discard)
                self._kernel_locks = self._trusts_locks() and file.locked
                self._sweep(os.fstat(file.fileno()).st_mtime)
            yield staged

    def delete(self, key: str) -> None:
        """Remove an object, or do nothing when it is missing."""
        path = self._path(key)
        with explained(path):
            try:
                self._refuse_links(path.parent)
                path.unlink()
            except (FileNotFoundError, IsADirectoryError):
                pass
            except NotADirectoryError:
                self._check_root()

    def clock(self) -> float:
        """Now, by the clock of the file system."""
        with explained(self._root):
            folder_mode, file_mode = self._prepare_root()
            folder = self._root / _TEMPORARY
            self._refuse_links(folder)
            make_folder(folder, folder_mode)
            path = folder / temporary_name()
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file_mode)
                try:
                    now = os.fstat(descriptor).st_mtime
                finally:
                    os.close(descriptor)
            finally:
                path.unlink(missing_ok=True)
            self._sweep(now)
            return now

    def _take_turn(
        self, stack: contextlib.ExitStack, folder_mode: int, file_mode: int
    ) -> int | None:
        """Wait for our turn; the bytes that may then be written, or None for no bound."""
        folder = self._root / _TEMPORARY / _TURNS
        self._refuse_links(folder)
        make_folder(folder, folder_mode)
        limits = self._limits
        turns = Turns(
            folder,
            limits.lock_seconds,
            kernel=self._trusts_locks(),
            mode=file_mode,
            deadline=self._deadline,
        )
        stack.enter_context(turns.take("save", limits.concurrent_saves, self._root))
        if limits.store_bytes is None:
            return None
        # Two that both find room for themselves would exceed the limit together.
        stack.enter_context(turns.take("size", 1, self._root))
        return limits.store_bytes - _size_of(self._root)

    def _sweep(self, now: float) -> None:
        seconds = self._limits.incomplete_seconds
        sweep(self._root / _TEMPORARY, now, seconds, kernel=self._trusts_locks())

    def _trusts_locks(self) -> bool:
        if self._kernel_locks is None:
            self._kernel_locks = kernel_locks_hold(self._root)
        return self._kernel_locks

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*check_key(key).split("/"))

    def _way_to(self, key: str) -> Path:
        """The place of an object that is to be made."""
        path = self._path(key)
        with explained(path):
            self._refuse_links(path.parent)
        return path

    def _refuse_links(self, folder: Path) -> None:
        """Raise where a link below the root would lead out of the store."""
        for each in (folder, *folder.parents):
            if each == self._root:
                return
            if each.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(each))

    def _check_root(self) -> None:
        """Raise when it is the root that is no folder, and not something below it."""
        if not self._root.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self._root))

    def _prepare_root(self) -> tuple[int, int]:
        if not self._root.is_dir():
            make_folder(self._root.parent, _SHARED_FOLDER)
            make_folder(self._root, _PRIVATE_FOLDER)
        private = not self._root.stat().st_mode & 0o077
        return (_PRIVATE_FOLDER, _PRIVATE_FILE) if private else (_SHARED_FOLDER, _SHARED_FILE)


def _walk(
    folder: Path, prefix: str, refused: dict[str, StoreAccessError]
) -> Iterator[StoredObject]:
    """The objects in a folder; trouble with one below it keeps nobody from the others."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            key = f"{prefix}/{entry.name}"
            if not is_key(key):
                continue
            if entry.is_dir(follow_symlinks=False):
                try:
                    with explained(entry.path):
                        yield from [*_walk(Path(entry.path), key, refused)]
                except StoreAccessError as error:
                    if error.errno not in _TROUBLE_OF_ONE_FOLDER:  # but of this process, or of all
                        raise
                    refused[key] = error
            elif entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # deleted since the listing
                    status = entry.stat(follow_symlinks=False)
                    yield StoredObject(key, status.st_size, status.st_mtime)


def _open_without_waiting(path: str, flags: int) -> int:
    # A pipe under the name of a pack would hold its reader for ever.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _size_of(root: Path) -> int:
    """Bytes of a store, and of what is being written to it; other files in its folder are not ours.

    Counted by name, not by listing: a limit also holds for what cannot be a key.
    """
    total = staged_bytes(root / _TEMPORARY)
    for folder, _, names in os.walk(root / LAYOUT):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # deleted since the listing
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
    return total
