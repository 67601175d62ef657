"""``run``: load, start a command, save when it is ready and at its end.

It belongs to the main thread of a process that does nothing else. The command never waits
for the cache longer than the times that the plan gives.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_compilecache.cache import CacheResult
from pytest_compilecache.cache.log import LOGGER
from pytest_compilecache.errors import SettingsError
from pytest_compilecache.supervising.command import Command, Ended
from pytest_compilecache.supervising.events import Events, Task
from pytest_compilecache.supervising.keeping import CommandProcess
from pytest_compilecache.supervising.readiness import Check, wait_until

_SIGNALLED = 128
# What machine code dies of. It may be ours: nothing of it shall reach the next replica.
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT})


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What ``run`` shall do.

    Attributes:
        command: The command and its arguments.
        readiness: Makes what tells that the command is ready, once its caches are known.
        load_seconds: How long the command's start may be delayed.
        ready_seconds: How long to wait for it to be ready.
        save_seconds: How long its end may be delayed.
        kill_after: Seconds between a signal that asks the command to end and its kill; None
            for never.
    """

    command: tuple[str, ...]
    readiness: Callable[[CommandProcess], Check]
    load_seconds: float = 120.0
    ready_seconds: float = 1800.0
    save_seconds: float = 30.0
    kill_after: float | None = None


@dataclass(slots=True)
class RunOutcome:
    """How a run went.

    Attributes:
        ended: How the command ended.
        load: How the load ended; None when it was cut short.
        ready: Whether the command was seen to be ready.
        saves: How each save ended, by its occasion: ``ready``, ``exit``.
        unsaved: Why nothing was saved, or empty.
    """

    ended: Ended
    load: CacheResult | None = None
    ready: bool = False
    saves: dict[str, CacheResult] = field(default_factory=dict)
    unsaved: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for another process."""
        return {
            **asdict(self.ended),
            "load": self.load.to_mapping() if self.load else None,
            "ready": self.ready,
            "saves": {occasion: each.to_mapping() for occasion, each in self.saves.items()},
            "unsaved": self.unsaved,
        }


def run(plan: RunPlan, keeper: CommandProcess) -> RunOutcome:
    """Run a command with its cache.

    Args:
        plan: What to do.
        keeper: The command's cache.

    Raises:
        SettingsError: This system lacks what keeps processes from being orphaned.
    """
    if sys.platform != "linux":
        raise SettingsError("compilecache run", "it needs Linux", "call load_compile_cache()")
    return _Run(plan, keeper, Events()).to_its_end()


class _Run:
    """One run.

    Args:
        plan: What to do.
        keeper: The command's cache.
        events: The signals of this process.
    """

    def __init__(self, plan: RunPlan, keeper: CommandProcess, events: Events) -> None:
        self._plan = plan
        self._keeper = keeper
        self._events = events
        self._over = threading.Event()
        self._outcome = RunOutcome(Ended(0, started=False), unsaved=keeper.unsaved)

    def to_its_end(self) -> RunOutcome:
        told = self._load()
        if told is not None:
            reason = f"it was not started: {signal.Signals(told.si_signo).name} came before"
            number = told.si_signo
            self._outcome.ended = Ended(_SIGNALLED + number, number, reason, started=False)
            return self._outcome
        command = Command(
            self._plan.command,
            self._keeper.child_environ(),
            self._plan.kill_after,
            self._events.mask,
        )
        saving = Task(self._save_when_ready, self._events)
        self._outcome.ended = self._attend(command)
        self._over.set()
        if self._outcome.ended.reason:
            LOGGER.warning("compile cache: %s", self._outcome.ended.reason)
        self._save_at_exit(saving)
        return self._outcome

    def _load(self) -> signal.struct_siginfo | None:
        """Load, as long as that may take; a signal that came meanwhile and asks us to end."""
        loading = Task(self._keeper.load_here, self._events)
        told = loading.wait(self._plan.load_seconds)
        if told is not None:
            return told
        self._outcome.load = loading.result
        if not loading.done:
            waited = self._plan.load_seconds
            LOGGER.warning("compile cache: the load goes on after %g s beside the start", waited)
        return None

    def _attend(self, command: Command) -> Ended:
        """Pass signals on until the command has ended."""
        while (ended := command.poll()) is None:
            told = self._events.next()
            # What the terminal sends, it sends to the whole group, and so to the command.
            if told is not None and told.si_code <= 0:
                command.pass_on(told.si_signo)
        return ended

    def _save_when_ready(self) -> None:
        plan, keeper = self._plan, self._keeper
        if keeper.site is None or keeper.unsaved:
            return
        if wait_until(plan.readiness(keeper), self._over, plan.ready_seconds):
            self._outcome.ready = True
            self._outcome.saves["ready"] = keeper.save_here()
        elif not self._over.is_set():
            waited = plan.ready_seconds
            LOGGER.warning("compile cache: not ready after %g s; saved at its end", waited)

    def _save_at_exit(self, saving: Task[None]) -> None:
        if self._keeper.unsaved:
            LOGGER.info("compile cache: nothing is saved: %s", self._keeper.unsaved)
            return
        deadline = time.monotonic() + self._plan.save_seconds
        cut = saving.wait(self._plan.save_seconds)
        why = self._why_not_at_exit()
        if why or cut is not None or not saving.done:
            LOGGER.info("compile cache: nothing is saved at the end: %s", why or "no time is left")
            return
        last = Task(self._keeper.save_at_end, self._events)
        last.wait(deadline - time.monotonic())
        if last.result is not None:
            self._outcome.saves["exit"] = last.result
        else:
            LOGGER.warning("compile cache: the save at the end was cut short")

    def _why_not_at_exit(self) -> str:
        ended = self._outcome.ended
        if not ended.started:
            return "the command did not start"
        if self._keeper.site is None:
            return "there is no cache for this command"
        if ended.signal in _CRASHES:
            return f"{signal.Signals(ended.signal).name} may come from compiled code"
        return ""
