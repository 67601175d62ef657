"""The process between ``compilecache run`` and its command: nothing outlives it.

It starts the command, passes signals on, reaps whatever the command leaves, and ends all of
that when the command or its own parent ends, however that one ends. It is run as a file of
its own, so it uses the standard library alone and starts in a few milliseconds.

Its arguments: the file descriptor that it reports to, its parent's process id, the seconds
between a signal that ends the command and the kill of what is left (or ``never``), the
signals that the command shall have blocked, and the command. It reports one JSON object on
each line: ``{"pid": …}`` when the command was started; ``{"errno": …, "reason": …}`` when it
could not be; and ``{"status": …}``, as of ``wait``, when it has ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

FORWARDED = frozenset(
    {
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
    }
)
ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
ORPHANS_SECONDS = 10.0

_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # prctl(2)
_KILLED_SECONDS = 5.0
_LOOK_SECONDS = 0.2
_PARENT_DIED = signal.SIGRTMIN + 5


def adopt_orphans() -> None:
    """Let processes whose parent dies become this one's children, and not init's."""
    _prctl(_SET_SUBREAPER, 1)


def descendants(root: int) -> set[int]:
    """The processes below one, those that wait to be reaped left out."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            state, parent = _state_of(entry.path)
            if state not in "ZX":
                children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        waiting += [pid for pid in below if pid not in found]
        found.update(below)
    return found


def end_descendants(grace: float) -> None:
    """Ask everything below this process to end, and kill what has not after so many seconds."""
    asked: set[int] = set()
    deadline = time.monotonic() + grace
    while (alive := descendants(os.getpid())) and time.monotonic() < deadline:
        _send(alive - asked, signal.SIGTERM)
        asked |= alive
        _wait_for_a_child(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
    deadline = time.monotonic() + _KILLED_SECONDS  # a process in a system call may need some
    while (alive := descendants(os.getpid())) and time.monotonic() < deadline:
        _send(alive, signal.SIGKILL)
        _wait_for_a_child(_LOOK_SECONDS)


def _wait_for_a_child(seconds: float) -> None:
    signal.sigtimedwait({signal.SIGCHLD}, seconds)
    _reap()


def _reap(wanted: int = 0) -> int | None:
    """Reap what has ended; the status of one child, if it is among it."""
    found = None
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return found
            if pid == wanted:
                found = status
    except ChildProcessError:
        return found


def _state_of(folder: str) -> tuple[str, int]:
    try:
        with open(f"{folder}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            # The name, in parentheses, may hold spaces and parentheses.
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return "X", 0
    return state, int(parent)


def _send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:  # it has ended, or is another user's
            continue


def _prctl(option: int, value: int) -> None:
    prctl = ctypes.CDLL(None).prctl
    prctl(ctypes.c_int(option), ctypes.c_ulong(value), *(ctypes.c_ulong(0),) * 3)


class _Guardian:
    """One command's guardian.

    Args:
        report: Where it reports to.
        parent: The process that it takes signals from.
        kill_after: Seconds between a signal to end and the kill; None for never.
    """

    def __init__(self, report: int, parent: int, kill_after: float | None) -> None:
        self._report = report
        self._parent = parent
        self._kill_after = kill_after
        self._deadline: float | None = None
        # Forgotten, it would reap the command, and keep its status to itself.
        self._command: subprocess.Popen[bytes] | None = None

    def guard(self, command: list[str], mask: Iterable[int]) -> None:
        """Start the command, and return when nothing of it is left."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD, _PARENT_DIED})
        adopt_orphans()
        _prctl(_SET_DEATH_SIGNAL, _PARENT_DIED)
        if os.getppid() != self._parent:  # it died before we asked for its signal
            return
        pid = self._start(command, mask)
        if pid:
            status = self._wait(pid)
            if status is not None:
                self._say(status=status)
            end_descendants(ORPHANS_SECONDS if self._kill_after is None else self._kill_after)

    def _start(self, command: list[str], mask: Iterable[int]) -> int:
        def prepare() -> None:
            _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)  # when even we are killed
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if os.environ.get("LISTEN_PID") == str(self._parent):
                os.environ["LISTEN_PID"] = str(os.getpid())  # systemd's sockets are for this one

        try:
            self._command = subprocess.Popen(  # noqa: S603
                command,
                preexec_fn=prepare,  # noqa: PLW1509
                close_fds=False,  # but for ours: those cannot be inherited
            )
        except OSError as error:
            self._say(errno=error.errno, reason=error.strerror or str(error))
            return 0
        self._say(pid=self._command.pid)
        return self._command.pid

    def _wait(self, pid: int) -> int | None:
        """Pass signals on until the command ends; None where our parent died before."""
        waited_for = {*FORWARDED, signal.SIGCHLD, _PARENT_DIED}
        while True:
            seconds = None if self._deadline is None else self._deadline - time.monotonic()
            if seconds is not None and seconds <= 0:
                _send({pid}, signal.SIGKILL)
                self._deadline = seconds = None
            if seconds is None:
                came: signal.struct_siginfo | None = signal.sigwaitinfo(waited_for)
            else:
                came = signal.sigtimedwait(waited_for, seconds)
            if came is None:
                continue
            if came.si_signo == _PARENT_DIED:
                return None
            if came.si_signo != signal.SIGCHLD:
                self._pass_on(pid, came)
            elif (status := _reap(pid)) is not None:
                return status

    def _pass_on(self, pid: int, came: signal.struct_siginfo) -> None:
        # What the terminal, or another process, sent to all of our group has reached it.
        if came.si_pid != self._parent or came.si_code > 0:
            return
        _send({pid}, came.si_signo)
        # Ignored, as by nohup, it asks neither us nor the command to end.
        ends = came.si_signo in ENDING and signal.getsignal(came.si_signo) != signal.SIG_IGN
        if self._kill_after is not None and ends and self._deadline is None:
            self._deadline = time.monotonic() + self._kill_after

    def _say(self, **facts: object) -> None:
        try:
            os.write(self._report, json.dumps(facts).encode() + b"\n")
        except OSError:  # run has ended
            return


def _main(arguments: list[str]) -> None:
    report, parent, kill_after, mask, *command = arguments
    os.set_inheritable(int(report), False)
    seconds = None if kill_after == "never" else float(kill_after)
    blocked = [int(number) for number in mask.split(",") if number]
    _Guardian(int(report), int(parent), seconds).guard(command, blocked)
    sys.stderr.flush()
    os._exit(0)  # what Popen would wait for has been reaped here


if __name__ == "__main__":
    _main(sys.argv[1:])
