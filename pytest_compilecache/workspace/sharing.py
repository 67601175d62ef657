"""Says to other processes that this one uses a workspace, by a shared kernel lock.

The lock is never taken from its owner and ends with it, however it ends. A process that
wants to delete takes the same lock exclusively, without waiting, or does not delete.
Beside the lock, each process has a mark of its own in the workspace, which it removes when
it releases the workspace or exits: a mark without an owner tells of one that was killed.
"""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from types import TracebackType

from pytest_compilecache._filesystem import filesystem_of
from pytest_compilecache.errors import WorkspaceError
from pytest_compilecache.places import CHOOSE_ANOTHER_PLACE
from pytest_compilecache.workspace.place import USE_MARK, Workspace

SHARING_LOCK = "sharing.lock"
EVICTING_LOCK = "evicting.lock"
RESTORING_LOCK = "restore.lock"

# Both are waited for inside `import torch`.
EVICTOR_SECONDS = 5.0
RESTORER_SECONDS = 10.0
_POLL_SECONDS = 0.02
_BETWEEN_CREATION_AND_LOCK_SECONDS = 1.0
_MAX_REPLACEMENTS = 100
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class SharedWorkspace:
    """One process's use of a workspace, for the time in which nothing of it may be evicted.

    Promises:
        - While it is held, no process evicts anything from the workspace, however
          long this one is stopped or how busy the machine is.
        - A process that is killed holds nothing, from the moment of its death.
        - An error is never raised; `reason` says it. Without a lock the workspace
          is used all the same, and eviction by others may then turn hits into misses.

    Does not promise:
        - That only this process holds it: a child that was forked has the same lock
          and keeps it for its own life, because it uses the workspace too. Torch's
          compile workers are not such children by default: they are forked from a
          process that was started by exec, where the descriptor is closed, and what
          they write they write while their session, which waits for it, holds its own.
          With ``TORCHINDUCTOR_WORKER_START=fork`` they are, and those of a killed
          session end (and let go) up to a minute later. A daemon that a test forks
          and leaves behind turns eviction off for as long as it lives.
        - Anything about programs that use the folders without this class.

    Args:
        workspace: The workspace, which is made where it is missing.
        environment_id: The environment that it is for.
        wait_seconds: How long to wait for a process that is evicting.

    Attributes:
        reason: Why the lock is not held though it was asked for, or empty.
    """

    def __init__(
        self, workspace: Workspace, environment_id: str, wait_seconds: float = EVICTOR_SECONDS
    ) -> None:
        self.reason = ""
        self._workspace = workspace
        self._environment_id = environment_id
        self._wait_seconds = wait_seconds
        self._locks: list[_Lock] = []
        self._remove_mark: Callable[[], object] | None = None

    @property
    def held(self) -> bool:
        """Whether the lock is held."""
        return bool(self._locks)

    def acquire(self) -> bool:
        """Make the workspace where it is missing, and hold it until it is released.

        Returns:
            Whether it is held; if not, `reason` says why.
        """
        if not self._locks:
            try:
                self.reason = why_unlockable(self._workspace)
                if self.reason:
                    self._workspace.prepare(self._environment_id)
                else:
                    self.reason = self._wait()
            except OSError as error:  # no locks here, no space, no permission
                self.reason = str(error)
        return self.held

    def release(self) -> None:
        """Use the workspace no longer. Children that were forked meanwhile still do."""
        while self._locks:
            lock = self._locks.pop()
            lock.touch()  # unused workspaces are told by the age of the lock's file
            lock.close()
        if self._remove_mark is not None:
            self._remove_mark()
            self._remove_mark = None

    def __enter__(self) -> SharedWorkspace:  # noqa: PYI034  (Self came with Python 3.11)
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _wait(self) -> str:
        """Take the lock; returns why it could not be had in time, or nothing."""
        deadline = time.monotonic() + self._wait_seconds
        while not self._try():
            if time.monotonic() >= deadline:
                return (
                    f"{self._workspace.root}: another process has been evicting from it for "
                    f"{self._wait_seconds:g} s"
                )
            time.sleep(_POLL_SECONDS)
        return ""

    def _try(self) -> bool:
        try:
            self._workspace.prepare(self._environment_id)
            self._locks = try_locks(self._workspace, SHARING_LOCK, exclusive=False)
        except FileNotFoundError:
            return False  # evicted as a whole between the two calls: it is made again
        except WorkspaceError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        for lock in self._locks:
            lock.touch()
        if self.held:
            self._remove_mark = _mark_use(self, self._workspace)
        return self.held


def _mark_use(user: SharedWorkspace, workspace: Workspace) -> Callable[[], object] | None:
    """Make the mark of a process that uses a workspace; returns what removes it, also at exit."""
    path = workspace.state / f"{USE_MARK}{os.getpid()}-{os.urandom(6).hex()}"
    with contextlib.suppress(OSError):
        if (lock := _try_lock(path, exclusive=True)) is not None:
            return weakref.finalize(user, _remove_mark, path, lock, os.getpid())
    return None


def _remove_mark(path: Path, lock: _Lock, owner: int) -> None:
    if os.getpid() == owner:  # and not a forked child, which has the same finalizer
        with contextlib.suppress(OSError):
            path.unlink()
    lock.close()


def forget_killed(marks: Iterable[str]) -> bool:
    """Remove the marks whose processes ended without doing so; whether there was one."""
    killed = False
    for path in map(Path, marks):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < _BETWEEN_CREATION_AND_LOCK_SECONDS:
                continue
            if (lock := _try_lock(path, exclusive=False)) is not None:
                killed = True
                path.unlink(missing_ok=True)
                lock.close()
    return killed


@contextlib.contextmanager
def restoring_turn(workspace: Workspace, seconds: float = RESTORER_SECONDS) -> Iterator[None]:
    """Let one process restore a workspace while the others that need it wait. It never fails.

    A process that waited in vain goes on: restoring beside another one costs time only.

    Args:
        workspace: The workspace.
        seconds: How long to wait for the process that restores, which may hang on a mount.
    """
    # Not by filelock, which takes 10 ms to import, in each session that imports torch.
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as undo:
        with contextlib.suppress(OSError):  # there are no locks here: what follows is safe without
            while not (locks := try_locks(workspace, RESTORING_LOCK, exclusive=True)):
                if time.monotonic() >= deadline:
                    break
                time.sleep(_POLL_SECONDS)
            undo.callback(_close, locks)
        yield


@contextlib.contextmanager
def sole_use(workspace: Workspace, own: SharedWorkspace | None = None) -> Iterator[str]:
    """Hold a workspace against everybody else, if nobody else uses it at this moment.

    Args:
        workspace: The workspace.
        own: This process's use of it, which is given up meanwhile. Nobody else evicts in
            between: whoever wants to needs the same turn.

    Yields:
        Why it is not held, or nothing when it is.
    """
    with contextlib.ExitStack() as undo:
        try:
            reason = why_unlockable(workspace) or _hold_alone(workspace, own, undo)
        except OSError as error:
            reason = str(error)
        yield reason


def _hold_alone(
    workspace: Workspace, own: SharedWorkspace | None, undo: contextlib.ExitStack
) -> str:
    in_use = f"{workspace.root}: it is in use"
    turn = try_locks(workspace, EVICTING_LOCK, exclusive=True)
    if not turn:
        return in_use
    undo.callback(_close, turn)  # last, when our own use is back
    if own is not None and own.held:
        undo.callback(own.acquire)
        own.release()
    locks = try_locks(workspace, SHARING_LOCK, exclusive=True)
    undo.callback(_close, locks)
    return "" if locks else in_use


def _close(locks: list[_Lock]) -> None:
    for lock in locks:
        lock.close()


def why_unlockable(workspace: Workspace) -> str:
    """Why kernel locks cannot tell who uses a workspace, or nothing when they can."""
    for folder in (workspace.root, workspace.inductor):
        filesystem = filesystem_of(folder)
        if filesystem.is_network:
            return (
                f"{folder}: it lies on a network file system ({filesystem.kind}), "
                "where other machines do not see kernel locks"
            )
    return ""


def try_locks(workspace: Workspace, name: str, *, exclusive: bool) -> list[_Lock]:
    """Take all locks of a name in a workspace, without waiting; none when one is taken.

    Raises:
        OSError: A lock cannot be had here.
    """
    with contextlib.ExitStack() as undo:
        taken: list[_Lock] = []
        for path in _lock_files(workspace, name):
            lock = _try_lock(path, exclusive=exclusive)
            if lock is None:
                return []
            undo.callback(lock.close)
            taken.append(lock)
        undo.pop_all()
        return taken


class _Lock:
    """An open file, which keeps its lock as long as it, or a copy of it in a child, is open."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, _OPEN, 0o600)
        try:
            self._identity = os.fstat(self.descriptor)
        except BaseException:
            os.close(self.descriptor)
            raise

    def names(self, path: Path) -> bool:
        """Whether the path still names this file."""
        try:
            return os.path.samestat(os.stat(path, follow_symlinks=False), self._identity)  # noqa: PTH116
        except FileNotFoundError:
            return False

    def touch(self) -> None:
        """Note the time on the file."""
        with contextlib.suppress(OSError, TypeError):
            if not self._was_given_away():
                os.utime(self.descriptor)

    def close(self) -> None:
        """Let go. Not by LOCK_UN: that would take the lock from forked children as well."""
        with contextlib.suppress(OSError):
            if not self._was_given_away():
                os.close(self.descriptor)

    def _was_given_away(self) -> bool:
        # A test that closes all descriptors lets the number be given to another file.
        try:
            return not os.path.samestat(os.fstat(self.descriptor), self._identity)
        except OSError:
            return False


def _lock_files(workspace: Workspace, name: str) -> Iterator[Path]:
    yield workspace.state / name
    if not (workspace.unshared or workspace.inductor.is_relative_to(workspace.root)):
        # Sessions with other roots may use the folder that the user named; their
        # state folders, and so their locks, are not ours.
        locks = workspace.inductor / "locks"
        locks.mkdir(mode=0o700, exist_ok=True)
        yield locks / f"compilecache-{name}"


def _try_lock(path: Path, *, exclusive: bool) -> _Lock | None:
    """Lock the file that a path names when the lock is had; None when another has it.

    Raises:
        OSError: There are no locks here, or the file cannot be made.
    """
    for _ in range(_MAX_REPLACEMENTS):
        with contextlib.ExitStack() as undo:
            lock = _Lock(path)
            undo.callback(lock.close)
            try:
                flock(lock.descriptor, LOCK_NB | (LOCK_EX if exclusive else LOCK_SH))
            except BlockingIOError:
                return None
            except OSError as error:
                raise WorkspaceError(
                    path,
                    f"no kernel lock can be had there: {error.strerror or error}",
                    CHOOSE_ANOTHER_PLACE,
                ) from error
            # Between opening and locking, its workspace may have been removed and
            # made again: a lock on the old file would bind nobody.
            if lock.names(path):
                undo.pop_all()
                return lock
    raise WorkspaceError(path, "it is another file each time that it is opened")
