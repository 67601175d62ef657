"""Waits for signals and for work in other threads, in one place and without polling.

It never handles a signal: what is awaited is blocked, and fetched when its time has come.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from pytest_compilecache.supervising.guardian import ENDING, FORWARDED

Result = TypeVar("Result")


class Events:
    """The signals of this process, fetched one by one. It belongs to the main thread.

    They stay blocked to the end of the process: one that comes late must not
    change its exit code, which is the command's.

    Attributes:
        mask: The signals that were blocked before, which a child shall inherit.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        # Blocked, they would come though nohup has them ignored.
        heard = {each for each in FORWARDED if signal.getsignal(each) is not signal.SIG_IGN}
        self._awaited = heard | {signal.SIGCHLD}
        # Ignored, as a parent may have left it, the kernel would keep no child's status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        self.mask = {int(each) for each in before}

    def next(self, seconds: float | None = None) -> signal.struct_siginfo | None:
        """The next signal from outside; None after so many seconds, or when there is news.

        News are the end of a child, or of a task.
        """
        told = (
            signal.sigwaitinfo(self._awaited)
            if seconds is None
            else signal.sigtimedwait(self._awaited, max(0.0, seconds))
        )
        return None if told is None or told.si_signo == signal.SIGCHLD else told

    def wake(self) -> None:
        """Let ``next`` return. Any thread may call it."""
        signal.pthread_kill(self._thread, signal.SIGCHLD)


class Task(Generic[Result]):
    """A function that runs in a thread of its own, which nobody has to wait for.

    Args:
        function: It must not raise.
        events: Where its end is told.
    """

    def __init__(self, function: Callable[[], Result], events: Events) -> None:
        self._function = function
        self._events = events
        self._results: list[Result] = []
        # A store that hangs must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive() or bool(self._results)

    @property
    def result(self) -> Result | None:
        """What it returned, or None while it runs."""
        return self._results[0] if self._results else None

    def wait(self, seconds: float) -> signal.struct_siginfo | None:
        """Wait until it has ended, or so many seconds.

        Returns:
            A signal that asks this process to end and came before.
        """
        deadline = time.monotonic() + seconds
        while not self.done and (left := deadline - time.monotonic()) > 0:
            told = self._events.next(left)
            if told is not None and told.si_signo in ENDING:
                return told
        return None

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        finally:
            self._events.wake()
