"""Sessions and evictors that are stopped, killed and set against each other.

A live session loses nothing, a dead one is in nobody's way, and a workspace whose
evictor was killed is a workspace with fewer files.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_compilecache.limits import Limits
from pytest_compilecache.workspace.evict import Evicted, evict
from pytest_compilecache.workspace.place import STAMP, Workspace, choose_workspace
from pytest_compilecache.workspace.sharing import SHARING_LOCK, SharedWorkspace
from tests.crash.extent import SOAK, stride
from tests.crash.faults import Fault, intercepted

_PROJECT = Path(__file__).parents[2]
EVERYTHING = Limits(workspace_bytes=0, keep_seconds=0)
HALF = Limits(workspace_bytes=1000, keep_seconds=0)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make(tmp_path / "root", "torch-1")


def make(root: Path, environment_id: str) -> Workspace:
    workspace = choose_workspace(root, environment_id, None)
    workspace.prepare(environment_id)
    return workspace


def fill(workspace: Workspace, count: int = 20) -> list[Path]:
    """Artifacts of 100 bytes, of which each was used after the one before."""
    paths = [workspace.inductor / f"a{number % 3}" / f"c{number}.py" for number in range(count)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 100)
        note_use(path)
    return paths


def unused(root: Path, environment_id: str) -> Workspace:
    """A workspace that was not used for decades."""
    workspace = make(root, environment_id)
    fill(workspace, 4)
    lock = workspace.state / SHARING_LOCK
    lock.touch()
    os.utime(lock, (0, 0))
    return workspace


def note_use(path: Path) -> None:
    os.utime(path, (1_700_000_000 + int(path.stem[1:]),) * 2)


def artifacts(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.inductor.glob("a?/*.py")}


def newest(count: int) -> set[str]:
    return {f"c{number}.py" for number in range(20 - count, 20)}


# --- processes ----------------------------------------------------------------

HOLDERS = """
import os, signal, sys
from pathlib import Path
from pytest_compilecache.workspace.place import choose_workspace
from pytest_compilecache.workspace.sharing import SharedWorkspace
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if os.fork() == 0:
        share = SharedWorkspace(choose_workspace(Path(sys.argv[1]), "torch-1", None), "torch-1")
        print(os.getpid() if share.acquire() else share.reason, flush=True)
        while True:
            signal.pause()
"""


class Holders:
    """A process that forks others, which hold a workspace until they are killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.alive: list[int] = []

    def add(self) -> int:
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.alive.append(int(self._process.stdout.readline()))
        return self.alive[-1]

    def kill(self, holder: int) -> None:
        self.alive.remove(holder)
        os.kill(holder, signal.SIGKILL)


@pytest.fixture
def holders(workspace: Workspace) -> Iterator[Holders]:
    with started(HOLDERS, workspace.root.parent.parent) as process:
        holders = Holders(process)
        yield holders
        for holder in list(holders.alive):
            holders.kill(holder)


@contextlib.contextmanager
def started(program: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, *map(str, words)]
    process = subprocess.Popen(
        command, cwd=_PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


# --- holders ------------------------------------------------------------------


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_live_holder_is_never_robbed(stopped: bool, workspace: Workspace, holders: Holders):
    fill(workspace)
    holder = holders.add()
    if stopped:
        os.kill(holder, signal.SIGSTOP)
    before = artifacts(workspace)
    for _ in range(20):
        result = evict(workspace, EVERYTHING)
        assert result == Evicted(reason=f"{workspace.root}: it is in use")
    assert artifacts(workspace) == before


def test_holder_whose_environment_is_no_longer_current_is_not_robbed_either(
    workspace: Workspace, holders: Holders
):
    fill(workspace)
    os.kill(holders.add(), signal.SIGSTOP)
    os.utime(workspace.state / SHARING_LOCK, (0, 0))
    current = make(workspace.root.parent.parent, "torch-2")
    assert evict(current, EVERYTHING).workspaces == ()
    assert artifacts(workspace) == newest(20)
    holders.kill(holders.alive[0])
    assert evict_soon(current).workspaces == ("torch-1",)


def test_killed_holder_is_in_nobodys_way(workspace: Workspace, holders: Holders):
    for _ in range(100):
        fill(workspace, 3)
        holder = holders.add()
        assert evict(workspace, EVERYTHING).files == 0
        holders.kill(holder)
        began = time.monotonic()
        assert evict_soon(workspace).files == 3
        assert time.monotonic() - began < 1


def test_a_hundred_holders_killed_at_once_are_in_nobodys_way(
    workspace: Workspace, holders: Holders
):
    fill(workspace)
    for _ in range(100):
        holders.add()
    for holder in holders.alive[1:]:
        holders.kill(holder)
    assert evict(workspace, EVERYTHING).files == 0
    began = time.monotonic()
    holders.kill(holders.alive[0])
    assert evict_soon(workspace).files == 20
    assert time.monotonic() - began < 1


def evict_soon(workspace: Workspace) -> Evicted:
    """Evict when those that were killed a moment ago are dead."""
    deadline = time.monotonic() + 10
    while True:
        result = evict(workspace, EVERYTHING)
        if result.files or result.workspaces:
            return result
        assert time.monotonic() < deadline, result
        time.sleep(0.001)


# --- evictors against each other and against sessions ---------------------------

EVICTOR = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from pytest_compilecache.limits import Limits
from pytest_compilecache.workspace.evict import evict
from pytest_compilecache.workspace.place import choose_workspace
workspace = choose_workspace(Path(sys.argv[1]), "torch-1", None)
print("ready", flush=True)
for line in sys.stdin:
    result = evict(workspace, Limits(workspace_bytes=1000, keep_seconds=0))
    print(json.dumps(asdict(result), default=str), flush=True)
"""


def test_racing_evictors_delete_no_more_than_one_alone(workspace: Workspace):
    root = workspace.root.parent.parent
    with started(EVICTOR, root) as one, started(EVICTOR, root) as other:
        for process in (one, other):
            process.stdout.readline()
        for _ in range(60):
            fill(workspace)
            old = unused(root, "torch-0")
            for process in (one, other):
                process.stdin.write("\n")
                process.stdin.flush()
            results = [json.loads(process.stdout.readline()) for process in (one, other)]
            assert artifacts(workspace) == newest(10)
            assert not old.root.exists()
            assert sum(result["files"] for result in results) == 10
            assert sum(len(result["workspaces"]) for result in results) == 1
            assert all(result["kept"] == 1000 or "in use" in result["reason"] for result in results)
            assert all(result["troubles"] == [] for result in results)


SESSION = """
import sys, time
from pathlib import Path
from pytest_compilecache.workspace.place import STAMP, choose_workspace
from pytest_compilecache.workspace.sharing import SharedWorkspace
workspace = choose_workspace(Path(sys.argv[1]), "torch-1", None)
print("ready", flush=True)
removed = 0
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    share = SharedWorkspace(workspace, "torch-1")
    if not share.acquire():
        print("refused:", share.reason, flush=True)
        break
    file = workspace.inductor / "a0" / "c0.py"
    removed += not file.exists()
    file.parent.mkdir(exist_ok=True)
    file.write_text("x")
    time.sleep(0.002)
    for path in (file, workspace.inductor / STAMP, workspace.headers, workspace.state):
        if not path.exists():
            print("robbed of", path, flush=True)
    share.release()
    time.sleep(0.001)
print(removed, flush=True)
"""


def test_sessions_that_come_and_go_lose_nothing_to_evictors_that_never_rest(workspace: Workspace):
    root = workspace.root.parent.parent
    current = make(root, "torch-2")
    seconds = 30 if SOAK else 2
    with started(SESSION, root, seconds) as one, started(SESSION, root, seconds) as other:
        for process in (one, other):
            process.stdout.readline()
        trims = removals = 0
        while one.poll() is None or other.poll() is None:
            trims += evict(workspace, Limits(workspace_bytes=0)).files
            removals += len(evict(current, Limits(keep_seconds=-1)).workspaces)
        missed = [process.communicate()[0].split("\n")[:-1] for process in (one, other)]
    assert [len(lines) for lines in missed] == [1, 1], missed
    assert trims + removals > 0
    assert sum(int(lines[0]) for lines in missed) > 0


# --- evictors that are killed or fail ---------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from pytest_compilecache.limits import Limits
from pytest_compilecache.workspace.evict import evict
from pytest_compilecache.workspace.place import choose_workspace
from tests.crash.faults import Kill, intercepted
for line in sys.stdin:
    root, position = line.split()
    child = os.fork()
    if child == 0:
        try:
            with intercepted(Kill(int(position))):
                evict(
                    choose_workspace(Path(root), "torch-1", None),
                    Limits(workspace_bytes=1000, keep_seconds=0),
                )
        finally:
            os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def with_other_environments(workspace: Workspace) -> Path:
    """The root, with a workspace that is to be removed and one that nobody ever shared."""
    fill(workspace)
    root = workspace.root.parent.parent
    unused(root, "torch-0")
    fill(make(root, "torch-old"), 4)
    return root


def copied(original: Path, folder: Path) -> Path:
    """A copy; the reads that make it count as use until that is taken back."""
    root = Path(shutil.copytree(original, folder))
    for path in root.glob("v1/*/inductor/a?/*.py"):
        note_use(path)
    return root


def faults_in(root: Path) -> list[str]:
    """What a session could stumble over."""
    found = []
    for folder in root.joinpath("v1").iterdir():
        if folder.name.startswith("."):
            continue
        names = {path.name for path in (folder, *folder.iterdir(), *folder.glob("inductor/*"))}
        missing = {"state", "inductor", "headers", STAMP} - names
        found += [f"{folder.name} lacks {name}" for name in missing]
        whole = {path.name for path in folder.glob("inductor/a?/*.py")}
        if folder.name != "torch-1" and len(whole) != 4:
            found.append(f"{folder.name} is half deleted")
        if folder.name == "torch-1" and not whole >= newest(10):
            found.append("more is gone than had to go")
    return found


def test_killed_evictor_leaves_a_workspace_and_the_next_one_goes_on(
    workspace: Workspace, tmp_path: Path
):
    original = with_other_environments(workspace)
    with started(KILLED) as process:
        for position in itertools.count(1, stride(3)):
            root = copied(original, tmp_path / f"copy{position}")
            process.stdin.write(f"{root} {position}\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            assert faults_in(root) == []
            next_one = evict(choose_workspace(root, "torch-1", None), HALF)
            assert (next_one.reason, next_one.troubles) == ("", ())
            assert artifacts(choose_workspace(root, "torch-1", None)) == newest(10)
            assert not [path for path in root.glob("v1/*") if "torch-0" in path.name]
            shutil.rmtree(root)
            if code == 0:
                break
    assert position > 30, "the evictor was hardly ever killed, so this test shows nothing"


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from one on"])
@pytest.mark.parametrize(
    "code", [errno.EACCES, errno.EIO, errno.ENOSPC], ids=lambda code: errno.errorcode[code]
)
def test_evictor_whose_calls_fail_says_so_and_leaves_a_workspace(
    code: int, lasting: bool, workspace: Workspace, tmp_path: Path
):
    original = with_other_environments(workspace)
    told = 0
    for position in itertools.count(1, stride(13)):
        root = copied(original, tmp_path / f"copy{position}")
        fault = Fault(position, code, lasting=lasting)
        with intercepted(fault):
            result = evict(choose_workspace(root, "torch-1", None), HALF)
        assert faults_in(root) == []
        told += bool(result.reason or result.troubles)
        with SharedWorkspace(choose_workspace(root, "torch-1", None), "torch-1") as share:
            assert share.held, share.reason
        shutil.rmtree(root)
        if not fault.struck:
            break
    assert told > 0
