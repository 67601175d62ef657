"""A command under a guardian: its start, its signals, its end. It never waits."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_compilecache.supervising import guardian

CANNOT_BE_EXECUTED, NOT_FOUND = 126, 127
_SIGNALLED = 128
_MAX_REPORT = 65_536


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


class Command:
    """A command that runs under a guardian of its own.

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
        """How it ended, once nothing of it is left; None before."""
        if self._guardian.poll() is None:
            return None
        facts = self._read_reports()
        if "status" in facts:
            return _ended(facts["status"])
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
        told = "there is no such command" if missing else reason
        return Ended(code, reason=f"{self._words[0]}: {told}", started=False)


def _ended(status: int) -> Ended:
    code = os.waitstatus_to_exitcode(status)
    return Ended(code) if code >= 0 else Ended(_SIGNALLED - code, -code)
