"""Servers that compile nothing real: they leave files where torch would, and end as they are told.

The URL that says whether they are ready is answered by the test itself, so no port can clash.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.machine import Machine

PROJECT = Path(__file__).parents[2]
PATIENCE = 120.0  # far beyond what a busy machine takes; nothing is asserted about time

# A shell function for servers: leaves an entry and a kernel whose content follows from the name.
COMPILE = """
compile() {
    mkdir -p "$TORCHINDUCTOR_CACHE_DIR/fxgraph/aa/f$1" "$TORCHINDUCTOR_CACHE_DIR/ab"
    echo "kernel = '$1'" > "$TORCHINDUCTOR_CACHE_DIR/ab/$1.tmp"
    mv "$TORCHINDUCTOR_CACHE_DIR/ab/$1.tmp" "$TORCHINDUCTOR_CACHE_DIR/ab/c$1.py"
    echo "entry $1" > "$TORCHINDUCTOR_CACHE_DIR/fxgraph/aa/f$1/entry"
}
has() { test "$(cat "$TORCHINDUCTOR_CACHE_DIR/fxgraph/aa/f$1/entry")" = "entry $1" ; }
"""


@dataclass
class Replica:
    """A machine on which one command runs under ``compilecache run``, or beside ``watch``."""

    root: Path
    store: Path
    machine: Machine = field(init=False)
    started: list[Started] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Machine(self.root)
        self.machine.variables["B10FS_CACHE_DIR"] = str(self.store)
        self.machine.variables["LOCAL_WORK_DIR"] = str(self.machine.tmp)

    def start(self, *words: str, **how: Any) -> Started:
        """Start the command ``compilecache`` with these words."""
        return self.start_python("-W", "error", "-m", "pytest_compilecache", *words, **how)

    def start_python(self, *words: str, session: bool = False, **how: Any) -> Started:
        """Start Python with these words, and subprocess' arguments."""
        # From the project's folder, so that it is the code beside these tests that runs.
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=PROJECT,
            env=self.machine.environ(),
            text=True,
            start_new_session=session,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how},
        )
        self.started.append(Started(process))
        return self.started[-1]

    def __enter__(self) -> Replica:  # noqa: PYI034  (Self came with Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.started:  # a test that failed may have left it
            with each.process as process:
                process.kill()

    def run(self, script: str, *options: str) -> Ended:
        """Run a shell script as the command, to its end."""
        return self.start_server(script, *options).end()

    def start_server(self, script: str, *options: str) -> Started:
        """Start a shell script as the command."""
        return self.start("run", "--json", *options, "--", "sh", "-c", COMPILE + script)

    def files(self, pattern: str) -> list[Path]:
        """What lies in this machine's workspaces."""
        return sorted(self.machine.tmp.rglob(pattern))


@dataclass
class Started:
    """A command that was started."""

    process: subprocess.Popen[str]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return Ended(self.process.returncode, out, err)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        """What it says of itself in the end."""
        facts: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return facts

    @property
    def statuses(self) -> dict[str, str]:
        """How the load and the saves ended."""
        saves = {occasion: save["status"] for occasion, save in self.facts["saves"].items()}
        load = self.facts["load"]
        return {"load": load and load["status"], **saves}


class Gate:
    """Answers a server's readiness URL: 200 once something says so, 503 before."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.asked = threading.Event()
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gate.asked.set()
                self.send_response(gate.status(self.path))
                if self.path.startswith("/moved"):
                    self.send_header("Location", "/good")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def status(self, path: str) -> int:
        """What a path is answered with."""
        if path.startswith("/moved"):
            return 302
        file = Path(path)  # a server makes it when it is ready
        return 200 if path == "/good" or path in self.open or file.is_file() else 503

    def url(self, path: str | Path) -> str:
        """The URL for a path."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    @contextmanager
    def answering(self) -> Iterator[Gate]:
        """Answer, in a thread."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited for: {what}"
        time.sleep(0.02)


def alive(pids: Iterable[int]) -> list[int]:
    """Which processes still run."""
    return [pid for pid in pids if _runs(pid)]


def numbers_in(file: Path, count: int) -> list[int]:
    """The process ids that a server wrote, once there are so many."""
    wait_for(lambda: file.is_file() and len(file.read_text().split()) >= count, str(file))
    return [int(word) for word in file.read_text().split()]


def packs_in(store: Path) -> Sequence[Path]:
    """The packs of a store."""
    return list(store.rglob("*.pack"))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX" and os.path.exists(f"/proc/{pid}")  # noqa: PTH110
