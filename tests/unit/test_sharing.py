from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_compilecache._filesystem import Filesystem
from pytest_compilecache.workspace import sharing
from pytest_compilecache.workspace.place import STAMP, Workspace, choose_workspace
from pytest_compilecache.workspace.sharing import SHARING_LOCK, SharedWorkspace, sole_use


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return choose_workspace(tmp_path / "root", "torch-1", None)


def shared(workspace: Workspace, wait_seconds: float = 10.0) -> SharedWorkspace:
    return SharedWorkspace(workspace, workspace.root.name, wait_seconds)


def refusal(workspace: Workspace) -> str:
    with sole_use(workspace) as reason:
        return reason


def test_workspace_is_made_and_held_until_it_is_released(workspace: Workspace):
    share = shared(workspace)
    assert share.acquire()
    assert (share.held, share.reason) == (True, "")
    assert (workspace.inductor / STAMP).read_text() == "torch-1"
    assert refusal(workspace) == f"{workspace.root}: it is in use"
    share.release()
    assert not share.held
    assert refusal(workspace) == ""


def test_workspace_is_free_when_the_last_of_many_released_it(workspace: Workspace):
    with shared(workspace) as one:
        with shared(workspace) as another:
            assert one.held
            assert another.held
        assert "in use" in refusal(workspace)
    assert refusal(workspace) == ""


def test_asking_and_giving_back_twice_is_the_same_as_once(workspace: Workspace):
    share = shared(workspace)
    assert share.acquire()
    assert share.acquire()
    share.release()
    share.release()
    assert refusal(workspace) == ""


def test_only_one_evictor_has_it(workspace: Workspace):
    workspace.prepare("torch-1")
    with sole_use(workspace) as reason:
        assert reason == ""
        assert "in use" in refusal(workspace)


def test_session_waits_for_an_evictor_and_then_says_so(workspace: Workspace):
    workspace.prepare("torch-1")
    share = shared(workspace, wait_seconds=0.1)
    with sole_use(workspace):
        assert not share.acquire()
        assert "another process has been evicting from it for 0.1 s" in share.reason
    assert share.acquire()
    assert share.reason == ""
    share.release()


def test_lock_file_says_when_the_workspace_was_last_used(workspace: Workspace):
    lock = workspace.state / SHARING_LOCK
    workspace.prepare("torch-1")
    lock.touch()
    share = shared(workspace)
    for use in (share.acquire, share.release):
        os.utime(lock, (1, 1))
        before = time.time() - 1
        use()
        assert lock.stat().st_mtime > before


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EIO])
def test_where_there_are_no_kernel_locks_it_says_so_and_eviction_is_off(
    code: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sharing, "flock", refuse)
    before = open_files()
    with shared(workspace) as share:
        assert not share.held
        assert f"no kernel lock can be had there: {os.strerror(code)}" in share.reason
    assert os.strerror(code) in refusal(workspace)
    assert open_files() == before


def test_on_a_network_file_system_nothing_is_locked_and_eviction_is_off(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sharing, "filesystem_of", lambda _: Filesystem("/", "nfs4"))
    with shared(workspace) as share:
        assert not share.held
        assert "it lies on a network file system (nfs4)" in share.reason
    assert not list(workspace.state.glob("*.lock"))
    assert "network" in refusal(workspace)


def test_folder_that_the_user_named_on_a_network_counts_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    named = tmp_path / "named"
    workspace = choose_workspace(tmp_path / "root", "torch-1", str(named))
    monkeypatch.setattr(
        sharing, "filesystem_of", lambda path: Filesystem("/", "nfs" if path == named else "ext4")
    )
    with shared(workspace) as share:
        assert share.reason.startswith(f"{named}: it lies on a network")


def test_workspace_that_cannot_be_made_is_no_error(tmp_path: Path):
    (tmp_path / "root").write_text("in the way")
    with shared(choose_workspace(tmp_path / "root", "torch-1", None)) as share:
        assert not share.held
        assert "cannot be made" in share.reason


def test_link_in_the_place_of_the_lock_is_not_followed(workspace: Workspace, tmp_path: Path):
    workspace.prepare("torch-1")
    (workspace.state / SHARING_LOCK).symlink_to(tmp_path / "elsewhere")
    with shared(workspace) as share:
        assert os.strerror(errno.ELOOP) in share.reason
    assert not (tmp_path / "elsewhere").exists()


def test_workspace_removed_between_opening_and_locking_is_made_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flock, removed = sharing.flock, tmp_path / "removed"

    def too_late(descriptor: int, operation: int) -> None:
        if not removed.exists():
            workspace.root.rename(removed)
        flock(descriptor, operation)

    monkeypatch.setattr(sharing, "flock", too_late)
    with shared(workspace) as share:
        assert share.held
        assert (workspace.inductor / STAMP).is_file()
        assert "in use" in refusal(workspace)


def test_lock_file_replaced_between_opening_and_locking_is_locked_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    lock, flock, replaced = workspace.state / SHARING_LOCK, sharing.flock, []

    def too_late(descriptor: int, operation: int) -> None:
        if not replaced:
            lock.unlink()
            lock.touch()
            replaced.append(lock)
        flock(descriptor, operation)

    monkeypatch.setattr(sharing, "flock", too_late)
    with shared(workspace):
        assert "in use" in refusal(workspace)


def test_lock_file_that_is_another_each_time_is_given_up(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    lock, flock = workspace.state / SHARING_LOCK, sharing.flock

    def too_late(descriptor: int, operation: int) -> None:
        lock.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(sharing, "flock", too_late)
    before = open_files()
    with shared(workspace) as share:
        assert "another file each time" in share.reason
    assert open_files() == before


def test_sessions_with_other_roots_hold_the_folder_that_their_users_named(tmp_path: Path):
    one, other = (
        choose_workspace(tmp_path / root, "torch-1", str(tmp_path / "named"))
        for root in ("one", "other")
    )
    with shared(one):
        other.prepare("torch-1")
        assert "in use" in refusal(other)
    assert refusal(other) == ""


def test_evictor_that_gets_one_of_two_locks_keeps_none(tmp_path: Path):
    one, other = (
        choose_workspace(tmp_path / root, "torch-1", str(tmp_path / "named"))
        for root in ("one", "other")
    )
    before = open_files()
    with shared(one):
        other.prepare("torch-1")
        with sole_use(other) as reason:
            assert "in use" in reason
            with shared(other) as share:
                assert share.held
    assert open_files() == before


def test_descriptor_closed_by_others_and_given_away_is_left_alone(
    workspace: Workspace, tmp_path: Path
):
    share = shared(workspace)
    before = open_files()
    share.acquire()
    numbers = open_files() - before
    for number in numbers:
        os.close(number)
    with contextlib.ExitStack() as stack:
        theirs = [stack.enter_context((tmp_path / f"{n}").open("w")) for n in numbers]
        assert {file.fileno() for file in theirs} == numbers
        share.release()
        for file in theirs:
            file.write("still open")


FORKS = """
import os, signal, sys
from pathlib import Path
from pytest_compilecache.workspace.place import choose_workspace
from pytest_compilecache.workspace.sharing import SharedWorkspace
share = SharedWorkspace(choose_workspace(Path(sys.argv[1]), "torch-1", None), "torch-1")
share.acquire()
child = os.fork()
if child == 0:
    signal.pause()
print(child, flush=True)
if sys.argv[2] == "released":
    share.release()
    signal.pause()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("parent", ["released", "killed"])
def test_forked_child_holds_what_its_parent_held(parent: str, workspace: Workspace, tmp_path: Path):
    with running(FORKS, str(tmp_path / "root"), parent) as process:
        child = int(process.stdout.readline())
        if parent == "killed":
            process.wait()
        try:
            time.sleep(0.1)
            assert "in use" in refusal(workspace)
        finally:
            os.kill(child, 9)
        soon_free(workspace)


def test_child_that_releases_leaves_its_parent_the_lock(workspace: Workspace, tmp_path: Path):
    program = FORKS.replace("signal.pause()", "share.release(); os._exit(0)", 1).replace(
        "print(child, flush=True)", "os.waitpid(child, 0); print(child, flush=True); signal.pause()"
    )
    with running(program, str(tmp_path / "root"), "") as process:
        process.stdout.readline()
        assert "in use" in refusal(workspace)


def test_program_started_by_a_session_does_not_hold_its_workspace(workspace: Workspace):
    with shared(workspace):
        command = [sys.executable, "-c", "print(1, flush=True); input()"]
        # Even one that is given every descriptor that may be inherited.
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False
        )
        child.stdout.readline()
    try:
        assert refusal(workspace) == ""
    finally:
        child.communicate(b"\n")


@contextlib.contextmanager
def running(program: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def soon_free(workspace: Workspace) -> None:
    deadline = time.monotonic() + 10
    while refusal(workspace):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def open_files() -> set[int]:
    return {int(path.name) for path in Path("/dev/fd").iterdir() if path.exists()}
