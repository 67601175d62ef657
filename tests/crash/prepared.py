"""A process that has imported everything, and forks one that can be killed for each order.

A Python that starts anew takes a hundred times as long, and an operation that
runs in a test's own process cannot be killed without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_compilecache.cache import CacheResult
from pytest_compilecache.errors import StoreError
from pytest_compilecache.store.prune import PruneResult
from tests.crash.artifacts import names, put
from tests.crash.faults import Kill, intercepted
from tests.crash.site import OPERATIONS, Site

_PROJECT = Path(__file__).parents[2]
WORDS = ("success", "skipped", "error", "does_not_exist", "pruned", "refused", "raised")
_PR_SET_PTRACER = 0x59616D61
_ANYBODY = ctypes.c_ulong(-1)
_LONGEST_SECONDS = 60
_MOST_TOLD = 3000  # what a pipe takes whole or not at all, when its writer is killed


@dataclass(frozen=True)
class Order:
    """What a forked process shall do, and what shall happen to it.

    Attributes:
        operation: One of `site.OPERATIONS`.
        folder: The folder of the site.
        machine: Whose workspace it is.
        kill_after: Seconds after which it is killed.
        kill_at: The call that changes something on the disk at which it is killed.
        strace: Arguments for a strace that watches it, which say what fails.
        trace: The file that strace writes.
        limits: Soft limits of the process by the names of the resource module;
            that of open files counts from those that are open already.
    """

    operation: str
    folder: str
    machine: str = ""
    kill_after: float | None = None
    kill_at: int | None = None
    strace: tuple[str, ...] = ()
    trace: str = ""
    limits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """What became of it.

    Attributes:
        told: What it told of its result before it did anything else, one of WORDS; empty when
            it did not come so far.
        signal: The signal that killed it, or 0.
        seconds: How long it ran.
        raised: The traceback of an exception that came out of the operation.
    """

    told: str
    signal: int
    seconds: float
    raised: str = ""

    @property
    def killed(self) -> bool:
        """Whether it was killed as ordered."""
        return self.signal == signal.SIGKILL


class Prepared:
    """The process, as a test sees it."""

    def __enter__(self):
        command = [sys.executable, "-m", "tests.crash.prepared"]
        self._process = subprocess.Popen(
            command, cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def run(self, **order: Any) -> Ending:
        """Fork a process for an order, and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(Order(**order)), default=str) + "\n")
        self._process.stdin.flush()
        return Ending(**json.loads(self._process.stdout.readline()))


def _serve() -> None:
    _run_once()
    for line in sys.stdin:
        values = json.loads(line)
        sys.stdout.write(json.dumps(asdict(_carry_out(Order(**values)))) + "\n")
        sys.stdout.flush()


def _run_once() -> None:
    """Do everything, so that whatever is imported late is there before the first fork."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        for number in range(3):
            site.restore("machine")
            put(site.workspace("machine"), names("w", 1, first=number))
            site.compact("machine")
        site.restore("another")
        site.prune()


def _carry_out(order: Order) -> Ending:
    told, tell = os.pipe()
    gate, open_gate = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        _be_the_child(order, gate, tell)
    os.close(tell)
    tracer = _trace(order, child)
    os.write(open_gate, b"!")
    os.close(open_gate)
    os.close(gate)  # not before: a child whose read was made to fail may be gone by now
    if order.kill_after is not None:
        time.sleep(order.kill_after)
        os.kill(child, signal.SIGKILL)  # it is ours until it is waited for, even if it ended
    _, status = os.waitpid(child, 0)
    seconds = time.perf_counter() - started
    if tracer is not None:
        tracer.communicate(timeout=60)
    with os.fdopen(told) as file:
        values = json.loads(file.read() or "{}")
    signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    word = values.get("told", "" if signalled else WORDS[os.waitstatus_to_exitcode(status)])
    return Ending(word, signalled, seconds, values.get("raised", ""))


def _trace(order: Order, child: int) -> subprocess.Popen[str] | None:
    if not order.strace:
        return None
    command = ["strace", "-f", "-o", order.trace, *order.strace, "-p", str(child)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    tracer.stderr.readline()  # that it is attached, or why it cannot be
    return tracer


def _be_the_child(order: Order, gate: int, tell: int) -> None:
    signal.alarm(_LONGEST_SECONDS)  # whoever waits for ever is killed, which the test then tells
    if order.strace:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)
    with contextlib.suppress(OSError):  # its failure was ordered, so strace is there
        os.read(gate, 1)
    told, raised = "raised", ""
    try:
        told = _operate(order)
    except BaseException:  # noqa: BLE001  (the test says that none may come out)
        raised = traceback.format_exc()[-_MOST_TOLD:]
    finally:
        with contextlib.suppress(OSError):  # where even this is made to fail
            os.write(tell, json.dumps({"told": told, "raised": raised}).encode())
        os._exit(WORDS.index(told))


def _operate(order: Order) -> str:
    _limit(order.limits)
    operate = OPERATIONS[order.operation]
    try:
        if order.kill_at is None:
            return _word_for(operate(Site(Path(order.folder)), order.machine))
        with intercepted(Kill(order.kill_at)):
            return _word_for(operate(Site(Path(order.folder)), order.machine))
    except StoreError:
        if order.operation != "prune":
            raise
        return "refused"


def _word_for(result: CacheResult | PruneResult) -> str:
    return result.status.value if isinstance(result, CacheResult) else "pruned"


def _limit(limits: dict[str, int]) -> None:
    for name, soft in limits.items():
        kind = getattr(resource, name)
        base = len([*Path("/proc/self/fd").iterdir()]) if name == "RLIMIT_NOFILE" else 0
        resource.setrlimit(kind, (base + soft, resource.getrlimit(kind)[1]))


if __name__ == "__main__":
    _serve()
