from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_compilecache.workspace.heal import heal
from pytest_compilecache.workspace.ledger import Ledger
from pytest_compilecache.workspace.place import Workspace, choose_workspace
from pytest_compilecache.workspace.scan import scan


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = choose_workspace(tmp_path, "torch-1", None)
    workspace.prepare("torch-1")
    return workspace


def put(workspace: Workspace, path: str, content: bytes) -> Path:
    area, _, below = path.partition("/")
    location = dict(workspace.areas())[area] / below
    location.parent.mkdir(parents=True, exist_ok=True)
    location.write_bytes(content)
    return location


def test_torn_file_is_moved_to_quarantine_and_the_rest_is_whole(workspace: Workspace):
    put(workspace, "inductor/ab/cgood.py", b"x = 1\n")
    torn = put(workspace, "inductor/ab/cbad.main.so", b"")
    healed = heal(workspace)
    assert set(healed.whole) == {"inductor/ab/cgood.py"}
    assert [(file.path, file.reason) for file in healed.torn] == [
        ("inductor/ab/cbad.main.so", "it is empty")
    ]
    assert not torn.exists()
    assert [path.name.endswith("cbad.main.so") for path in workspace.quarantine.iterdir()] == [True]


def test_note_that_a_torn_library_once_loaded_goes_with_it(workspace: Workspace):
    put(workspace, "inductor/ab/cprobe.so", b"")
    note = put(workspace, "inductor/ab/cprobe.so.load_ok", b"")
    assert [file.path for file in heal(workspace).torn] == ["inductor/ab/cprobe.so"]
    assert not note.exists()


@pytest.mark.parametrize("area", ["inductor/ab", "headers"])
def test_file_under_a_live_compilers_lock_is_left_alone(area: str, workspace: Workspace):
    torn = put(workspace, f"{area}/ckey.so", b"")
    locks = dict(workspace.areas())[area.split("/", maxsplit=1)[0]] / "locks"
    locks.mkdir(exist_ok=True)
    code = (
        "import sys, time; from filelock import FileLock; "
        "lock = FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(locks / "ckey.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        healed = heal(workspace)
        holder.kill()
    assert healed.busy == (f"{area}/ckey.so",)
    assert torn.exists()
    assert [file.path for file in heal(workspace).torn] == [f"{area}/ckey.so"]


def test_file_is_judged_once_and_again_when_it_changed(workspace: Workspace):
    good = put(workspace, "inductor/ab/c1.py", b"x = 1\n")
    heal(workspace)
    assert Ledger.load(workspace).knows(scan(workspace)["inductor/ab/c1.py"])
    good.write_bytes(b"x = (\n")
    assert [file.path for file in heal(workspace).torn] == ["inductor/ab/c1.py"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"version": 1}', b'{"version":1,"files":{"a":1}}']
)
def test_unreadable_ledger_costs_time_and_nothing_else(content: bytes, workspace: Workspace):
    put(workspace, "inductor/ab/c1.py", b"x = 1\n")
    (workspace.state / "whole.json").write_bytes(content)
    assert set(heal(workspace).whole) == {"inductor/ab/c1.py"}


def test_ledger_forgets_files_that_are_gone(workspace: Workspace):
    gone = put(workspace, "inductor/ab/c1.py", b"x = 1\n")
    heal(workspace)
    gone.unlink()
    heal(workspace)
    assert Ledger.load(workspace).seen == {}


def test_locks_profiles_and_temporary_files_are_no_artifacts(workspace: Workspace):
    for path in ("locks/c.lock", "dynamo/profile", "ab/.1.2.tmp", "ab/c.main.o"):
        put(workspace, f"inductor/{path}", b"x")
    (workspace.inductor / "ab" / "link.py").symlink_to("/etc/passwd")
    assert scan(workspace) == {}


def test_old_temporary_file_of_a_dead_process_is_moved_away(workspace: Workspace):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    old = put(workspace, f"inductor/ab/.{dead.pid}.140.tmp", b"x")
    alive = put(workspace, f"inductor/ab/.{os.getpid()}.140.tmp", b"x")
    young = put(workspace, f"inductor/ab/.{dead.pid}.141.tmp", b"x")
    for path in (old, alive):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    heal(workspace)
    assert (old.exists(), alive.exists(), young.exists()) == (False, True, True)


def test_lock_is_free_again_after_healing(workspace: Workspace):
    put(workspace, "inductor/ab/ckey.so", b"")
    heal(workspace)
    FileLock(workspace.inductor / "locks" / "ckey.lock").acquire(timeout=0).lock.release()
