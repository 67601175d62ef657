"""Turns at writing to a store's folder. They bound its load and its size; nothing else needs them.

A kernel lock is never taken from its owner and ends with it. Where kernel locks
cannot be trusted, as on network file systems, a turn is a lease: an owner that
was silent for its duration loses it, and what it publishes afterwards is
published all the same.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_compilecache.errors import StoreError
from pytest_compilecache.store.publishing import create
from pytest_compilecache.store.staging import temporary_name

if TYPE_CHECKING:
    from filelock import BaseFileLock

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_POLL_SECONDS = (0.005, 0.1)
_DURATION = "lease-seconds"
_DURATIONS = (1.0, 7200.0)
_DURATION_WITHOUT_A_WISH = 30.0


class StoreBusyError(StoreError, TimeoutError):
    """Too many others write to the store."""


class Turns:
    """The turns of a folder.

    Args:
        folder: Where the locks lie.
        seconds: How long a turn is waited for, and how long an owner of a lease may be silent.
        kernel: Whether kernel locks can be trusted there.
        mode: The mode of the locks.
        deadline: When to wait no longer in any case, by ``time.monotonic``.
    """

    def __init__(
        self,
        folder: Path,
        seconds: float,
        *,
        kernel: bool,
        mode: int,
        deadline: float = math.inf,
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._kernel = kernel
        self._mode = mode
        self._deadline = deadline

    @contextlib.contextmanager
    def take(self, name: str, count: int, subject: object) -> Iterator[None]:
        """Hold one of some turns.

        Args:
            name: What the turns are for.
            count: How many there are.
            subject: What a person is told about.

        Raises:
            StoreBusyError: None came free in time.
            OSError: The locks cannot be made.
        """
        seconds = max(min(self._waits(), self._deadline - time.monotonic()), 0)
        held = self._wait([f"{name}-{number}.lock" for number in range(count)], seconds)
        if held is None:
            reason = f"{count} others write to it, and none has finished in {seconds:.3g} s"
            raise StoreBusyError(subject, reason, "save later, or raise MAX_CONCURRENT_SAVES")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a lease that was lost, or a full disk
                held.release()

    def _wait(self, names: list[str], seconds: float) -> BaseFileLock | None:
        from filelock import LeaseSettingsMismatch, Timeout  # noqa: PLC0415

        # Kept while waiting: a lease tells from its own observations that an owner is silent.
        locks: dict[str, BaseFileLock] = {}
        deadline = time.monotonic() + seconds
        pause = _POLL_SECONDS[0]
        while True:
            for name in names:
                lock = locks[name] if name in locks else locks.setdefault(name, self._lock(name))
                # A lease of another duration is of one who came before all agreed on theirs.
                with contextlib.suppress(Timeout, LeaseSettingsMismatch):
                    lock.acquire(timeout=0)
                    return lock
            if time.monotonic() >= deadline:
                return None
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  (only to spread them)
            pause = min(2 * pause, _POLL_SECONDS[1])

    def _waits(self) -> float:
        # A lease whose owner died on another machine ends after its duration, and a
        # contender that gave up just before would find it again and again.
        if self._kernel or not self._seconds:
            return self._seconds
        return 2 * max(self._seconds, self._duration())

    def _lock(self, name: str) -> BaseFileLock:
        from filelock import FileLock, SoftFileLease  # noqa: PLC0415

        path = self._folder / name
        if self._kernel:
            # Here the umask has its say, with a mode of filelock's it has none; and nobody's
            # link leads elsewhere.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, _CREATE, self._mode))
            return FileLock(path)
        return SoftFileLease(path, mode=self._mode & 0o644, lease_duration=self._duration())

    def _duration(self) -> float:
        """The duration that all who write to this store agree on: that of the first."""
        path = self._folder / _DURATION
        agreed = _read_duration(path)
        if agreed is None and self._seconds:  # who does not wait has no wish
            self._propose(path)
            agreed = _read_duration(path)
        return _DURATION_WITHOUT_A_WISH if agreed is None else agreed

    def _propose(self, path: Path) -> None:
        """Write our own wish, whole or not at all, unless another's can be read by now."""
        temporary = (
            self._folder.parent / temporary_name()
        )  # where what a killed writer left is swept
        try:
            temporary.write_text(repr(min(max(float(self._seconds), _DURATIONS[0]), _DURATIONS[1])))
            create(temporary, path)
            # What a power failure left torn would let each contender go by his own wish, and
            # a lease of another duration is never taken from an owner who died elsewhere.
            if _read_duration(path) is None:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _read_duration(path: Path) -> float | None:
    try:
        agreed = float(path.read_text())
    except (OSError, ValueError):
        return None
    return agreed if _DURATIONS[0] <= agreed <= _DURATIONS[1] else None
