"""``run``: load, start a command, save when it is ready and at its end.

It belongs to the main thread of a process that does nothing else. The command never waits
for the cache longer than the times that the plan gives.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pytest_compilecache.cache import CacheResult
from pytest_compilecache.cache.log import LOGGER
from pytest_compilecache.server import guardian
from pytest_compilecache.server.keeping import CommandProcess
from pytest_compilecache.server.readiness import Check, wait_until

CANNOT_BE_EXECUTED, NOT_FOUND = 126, 127

_SIGNALLED = 128
_MAX_REPORT = 65_536
# What machine code dies of. It may be ours: nothing of it shall reach the next replica.
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT})

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What ``run`` shall do.

    Attributes:
        command: The command and its arguments.
        readiness: Makes the check for the command being ready, once its caches are known.
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


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        exit_code: Its own; 128 and the signal's number when a signal ended it; 126 or 127
            when it could not be started.
        signal: The signal that ended it, or None.
        reason: Why it could not be started or watched, or empty.
        started: Whether it ran at all.
    """

    exit_code: int
    signal: int | None = None
    reason: str = ""
    started: bool = True


@dataclass(slots=True)
class RunOutcome:
    """How a run went.

    Attributes:
        ended: How the command ended.
        load: How the load ended; None when it was cut short.
        ready: Whether the command was seen to be ready.
        saves: How each save ended, by its occasion: ``ready``, ``exit``.
        unsaved: Why nothing was saved, or empty.
        cut_short: Whether a load or a save still runs in a thread of this process.
    """

    ended: Ended
    load: CacheResult | None = None
    ready: bool = False
    saves: dict[str, CacheResult] = field(default_factory=dict)
    unsaved: str = ""
    cut_short: bool = False

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
    """
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
        self._tasks: list[Task[Any]] = []
        self._outcome = RunOutcome(Ended(0, started=False), unsaved=keeper.unsaved)

    def to_its_end(self) -> RunOutcome:
        came = self._load()
        if came is None:
            self._command_to_its_end()
        else:
            reason = f"it was not started: {signal.Signals(came.si_signo).name} came before"
            number = came.si_signo
            self._outcome.ended = Ended(_SIGNALLED + number, number, reason, started=False)
        self._outcome.cut_short = not all(task.done for task in self._tasks)
        return self._outcome

    def _command_to_its_end(self) -> None:
        command = Command(
            self._plan.command,
            self._keeper.child_environ(),
            self._plan.kill_after,
            self._events.mask,
        )
        saving = self._begin(self._save_when_ready)
        self._outcome.ended = self._attend(command)
        self._over.set()
        if self._outcome.ended.reason:
            LOGGER.warning("compile cache: %s", self._outcome.ended.reason)
        self._save_at_exit(saving)

    def _load(self) -> signal.struct_siginfo | None:
        """Load, as long as that may take.

        Returns:
            A signal that asks this process to end and came meanwhile.
        """
        loading = self._begin(self._keeper.load_here)
        came = loading.wait(self._plan.load_seconds)
        if came is not None:
            return came
        self._outcome.load = loading.result
        if not loading.done:
            waited = self._plan.load_seconds
            LOGGER.warning("compile cache: the load goes on after %g s beside the start", waited)
        return None

    def _begin(self, function: Callable[[], Result]) -> Task[Result]:
        task = Task(function, self._events)
        self._tasks.append(task)
        return task

    def _attend(self, command: Command) -> Ended:
        """Pass signals on until the command has ended."""
        while (ended := command.poll()) is None:
            came = self._events.next()
            # What the terminal sends, it sends to the whole group, and so to the command.
            if came is not None and came.si_code <= 0:
                command.pass_on(came.si_signo)
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
        came = saving.wait(self._plan.save_seconds)
        why = self._why_not_at_exit()
        if why or came is not None or not saving.done:
            LOGGER.info("compile cache: nothing is saved at the end: %s", why or "no time is left")
            return
        last = self._begin(self._keeper.save_at_end)
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


class Command:
    """A command that runs under a guardian of its own: its start, its signals, its end.

    It never waits.

    Args:
        words: The command and its arguments.
        environ: Its variables.
        kill_after: Seconds between a signal that asks it to end and its kill; None for never.
        mask: The signals that it shall have blocked.
    """

    def __init__(
        self,
        words: Sequence[str],
        environ: Mapping[str, str],
        kill_after: float | None = None,
        mask: Iterable[int] = (),
    ) -> None:
        self._words = words
        self._reports, write_end = os.pipe()
        arguments = (
            str(write_end),
            str(os.getpid()),
            "never" if kill_after is None else str(kill_after),
            ",".join(str(int(number)) for number in mask),
        )
        script = str(Path(guardian.__file__))
        guardian.adopt_orphans()  # when the guardian itself is killed
        os.set_inheritable(write_end, True)  # the guardian closes it to the command
        try:
            self._guardian = subprocess.Popen(  # noqa: S603  (to run a command is what we are for)
                [sys.executable, "-I", "-S", script, *arguments, *words],
                env=environ,
                close_fds=False,  # a shell's <(…) and systemd's sockets are the command's
            )
        finally:
            os.close(write_end)

    def pass_on(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self._guardian.send_signal(number)

    def poll(self) -> Ended | None:
        """How it ended, once no process of it is left; None before."""
        if self._guardian.poll() is None:
            return None
        facts = self._read_reports()
        if "status" in facts:
            code = os.waitstatus_to_exitcode(facts["status"])
            return Ended(code) if code >= 0 else Ended(_SIGNALLED - code, -code)
        if "errno" in facts:
            return self._not_started(facts["errno"], facts["reason"])
        # Killed with it was the command itself; what that left has come to us.
        guardian.end_descendants(guardian.ORPHANS_SECONDS)
        return Ended(_SIGNALLED + signal.SIGKILL, signal.SIGKILL, "its guardian was killed")

    def _read_reports(self) -> dict[str, Any]:
        # A pipe that the command's descendants do not have: it is short and complete.
        text = os.read(self._reports, _MAX_REPORT)
        os.close(self._reports)
        facts: dict[str, Any] = {}
        for line in text.splitlines():
            facts.update(json.loads(line))
        return facts

    def _not_started(self, number: int | None, reason: str) -> Ended:
        missing = number == errno.ENOENT
        code = NOT_FOUND if missing else CANNOT_BE_EXECUTED
        why = "there is no such command" if missing else reason
        return Ended(code, reason=f"{self._words[0]}: {why}", started=False)


class Events:
    """The signals of this process, and the ends of its tasks, waited for without polling.

    It never handles a signal: what is waited for is blocked, and fetched one by one by the
    main thread. They stay blocked to the end of the process: one that comes late must not
    change its exit code, which is the command's.

    A signal that was ignored when this process started (by ``nohup``, or by a shell for what
    it puts in the background) does not end it. It is passed on all the same: the command,
    which has inherited that, may want it.

    Attributes:
        mask: The signals that were blocked before, which a child shall inherit.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._ending = {
            each for each in guardian.ENDING if signal.getsignal(each) is not signal.SIG_IGN
        }
        # Blocked, they come even where they are ignored.
        self._awaited = guardian.FORWARDED | {signal.SIGCHLD}
        # Ignored, as a parent may have left it, the kernel would keep no child's status.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        self.mask = {int(each) for each in before}

    def next(self, seconds: float | None = None) -> signal.struct_siginfo | None:
        """The next signal from outside; None after so many seconds, or when there is news.

        News is the end of a child, or of a task.
        """
        came = (
            signal.sigwaitinfo(self._awaited)
            if seconds is None
            else signal.sigtimedwait(self._awaited, max(0.0, seconds))
        )
        return None if came is None or came.si_signo == signal.SIGCHLD else came

    def ends(self, came: signal.struct_siginfo) -> bool:
        """Whether a signal asks this process to end."""
        return came.si_signo in self._ending

    def wake(self) -> None:
        """Let ``next`` return. Any thread may call it."""
        signal.pthread_kill(self._thread, signal.SIGCHLD)


class Task(Generic[Result]):
    """A function that runs in a daemon thread, so that this process can end before it.

    Args:
        function: It must not raise.
        events: Woken when it ends.
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
            came = self._events.next(left)
            if came is not None and self._events.ends(came):
                return came
        return None

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        finally:
            self._events.wake()
