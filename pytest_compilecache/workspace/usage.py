"""Which artifacts this process used, noted on the files themselves for eviction to see.

It listens to audit events (PEP 578): file systems mounted with ``noatime`` note nothing,
and others at most once a day. It never makes an operation fail, nor waits for a lock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_compilecache import audit_hook
from pytest_compilecache.workspace.place import Workspace

# Torch loads kernels by ctypes, or imports them as extension modules.
_EVENTS = ("open", "ctypes.dlopen", "import")
_WRITING = os.O_WRONLY | os.O_RDWR
_TORCH_LOCKS = f"{os.sep}locks{os.sep}"


@dataclass(slots=True)
class UsageLog:
    """The artifacts of a workspace that this process opened since the last flush.

    What torch only looks for (libraries by which it probes vector instructions,
    sources, precompiled headers) counts as used when it takes their lock, as it
    does before each look.

    Attributes:
        workspace: The workspace.
        marked: What was marked by all flushes so far.
    """

    workspace: Workspace
    marked: set[str] = field(default_factory=set)
    _opened: set[str] = field(default_factory=set)
    _deaf: set[int] = field(default_factory=set)
    _stop: Callable[[], None] | None = None

    def start(self) -> None:
        """Listen from now on."""
        if self._stop is None:
            self._stop = audit_hook.listen(
                _listener(self.workspace, self._opened, self._deaf), *_EVENTS
            )

    def stop(self) -> None:
        """Rest. What was heard so far can still be flushed."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def flush(self) -> int:
        """Set the time of last access of what was opened to now, and forget it.

        Returns:
            How many files were marked. One that is gone, or not ours, is not.
        """
        now = time.time_ns()
        marked = {path for path in self._drain() if _mark(path, now)}
        self.marked |= marked
        return len(marked)

    @contextlib.contextmanager
    def ignoring_this_thread(self) -> Iterator[None]:
        """Hear nothing of this thread meanwhile: what is read to be packed is not used."""
        self._deaf.add(threading.get_ident())
        try:
            yield
        finally:
            self._deaf.discard(threading.get_ident())

    def _drain(self) -> Iterator[str]:
        # Not by a lock and a copy: the hook may run in a signal handler of the
        # thread that holds the lock, or in a child that was forked meanwhile.
        while self._opened:
            try:
                path = self._opened.pop()
            except KeyError:
                return
            if _TORCH_LOCKS in path:
                yield from _files_behind(Path(path))
            else:
                yield path


def _listener(workspace: Workspace, opened: set[str], deaf: set[int]) -> audit_hook.Listener:
    """Hears of every file that is opened; as a method it would cost the double."""
    # A module's names are gone before the last events of a process.
    locks, writing, thread = _TORCH_LOCKS, _WRITING, threading.get_ident
    folders = tuple(f"{folder}{os.sep}" for _, folder in workspace.areas())

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        try:
            path = arguments[1 if event == "import" else 0]
            if not (isinstance(path, str) and path.startswith(folders)):
                return
            writes = event == "open" and arguments[2] & writing
        except (IndexError, TypeError):
            return  # raised by somebody else under the same name; it must not fail for that
        if (not writes or locks in path) and thread() not in deaf:
            opened.add(path)

    return hear


def _mark(path: str, now: int) -> bool:
    try:
        status = os.stat(path, follow_symlinks=False)  # noqa: PTH116  (called for every file)
        os.utime(path, ns=(now, status.st_mtime_ns), follow_symlinks=False)
    except OSError:
        return False
    return True


def _files_behind(lock: Path) -> Iterator[str]:
    """The files that torch makes under one of its locks: beside it, or by the key's 2nd and 3rd."""
    area, key = lock.parent.parent, lock.name.removesuffix(".lock")
    for folder in (area, area / key[1:3]):
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        yield from (entry.path for entry in entries if entry.name.startswith(f"{key}."))
