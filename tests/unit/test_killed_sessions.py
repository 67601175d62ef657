"""That a process was killed is said only where a mark of it in the workspace proves it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_compilecache.cache import restore
from pytest_compilecache.workspace.heal import heal
from pytest_compilecache.workspace.place import USE_MARK
from pytest_compilecache.workspace.sharing import SharedWorkspace
from tests.unit.machine import ENVIRONMENT, Place

SESSION = """
import os, signal, sys
from pathlib import Path
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.sharing import SharedWorkspace
root = Path(sys.argv[1])
share = SharedWorkspace(Workspace(root, root / "inductor", root / "headers"), sys.argv[2])
assert share.acquire()
"""
ENDINGS = {
    "released": "share.release()",
    "exits": "sys.exit(0)",
    "raises": "raise SystemExit(3)",
    "forks a child that exits": (
        "pid = os.fork()\nif not pid:\n    sys.exit(0)\nos.waitpid(pid, 0)\n"
        "assert list(root.glob('state/in-use-*'))"
    ),
}


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(tmp_path / "here")


def run(here: Place, ending: str) -> int:
    command = [sys.executable, "-c", SESSION + ending, str(here.workspace.root), ENVIRONMENT.id]
    return subprocess.run(command, check=False).returncode


def marks(here: Place) -> list[Path]:
    return list(here.workspace.state.glob(f"{USE_MARK}*"))


def age_marks(here: Place) -> None:
    for mark in marks(here):
        os.utime(mark, (0, 0))


def test_the_first_session_has_no_evidence_whatever_is_torn(here):
    with SharedWorkspace(here.workspace, ENVIRONMENT.id):
        here.write("c.so", b"torn")
        age_marks(here)
        healed = heal(here.workspace)
    assert [file.path for file in healed.torn] == ["inductor/ab/c.so"]
    assert not healed.killed


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_process_that_ends_leaves_no_evidence(here, ending):
    assert run(here, ENDINGS[ending]) in {0, 3}
    assert marks(here) == []
    assert not heal(here.workspace).killed


def test_a_process_that_was_killed_is_known_once(here):
    assert run(here, "os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL
    age_marks(here)
    with SharedWorkspace(here.workspace, ENVIRONMENT.id):
        here.write("c.so", b"torn")
        result = restore(here.workspace, ENVIRONMENT, None)
        assert result.torn
        assert result.killed
        assert not restore(here.workspace, ENVIRONMENT, None).killed
    assert marks(here) == []


def test_a_living_process_is_no_evidence_however_old_its_mark_is(here):
    with SharedWorkspace(here.workspace, ENVIRONMENT.id):
        age_marks(here)
        assert not heal(here.workspace).killed
        assert len(marks(here)) == 1
