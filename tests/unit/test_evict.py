from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_compilecache._filesystem import Filesystem
from pytest_compilecache.limits import DAY, Limits
from pytest_compilecache.workspace import sharing
from pytest_compilecache.workspace.evict import Unit, choose, evict
from pytest_compilecache.workspace.place import STAMP, Workspace, choose_workspace
from pytest_compilecache.workspace.sharing import SHARING_LOCK, SharedWorkspace

NOW = 1_700_000_000
EVERYTHING = Limits(workspace_bytes=0)


def make(root: Path, environment_id: str = "torch-1", named: Path | None = None) -> Workspace:
    workspace = choose_workspace(root, environment_id, str(named) if named else None)
    workspace.prepare(environment_id)
    return workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make(tmp_path / "root")


def put(workspace: Workspace, path: str, size: int = 100, used: int = 0) -> Path:
    """A file that was last used some seconds after all began."""
    folder, _, below = path.partition("/")
    areas = {**dict(workspace.areas()), "quarantine": workspace.quarantine}
    location = areas[folder] / below
    location.parent.mkdir(parents=True, exist_ok=True)
    location.write_bytes(b"x" * size)
    os.utime(location, (NOW + used, NOW))
    return location


def left(*paths: Path) -> list[bool]:
    return [path.exists() for path in paths]


# --- what is chosen ----------------------------------------------------------


def unit(name: str, size: int = 100, used: int = 0, rank: int = 1) -> Unit:
    return Unit((name,), size, used, rank)


def names(units: list[Unit], excess: int) -> list[str]:
    return [each.paths[0] for each in choose(units, excess)]


def test_least_recently_used_goes_first_and_no_more_than_needed():
    units = [unit("c", used=3), unit("a", used=1), unit("b", used=2)]
    assert names(units, 0) == []
    assert names(units, 1) == ["a"]
    assert names(units, 100) == ["a"]
    assert names(units, 101) == ["a", "b"]
    assert names(units, 10_000) == ["a", "b", "c"]


def test_rank_counts_before_use():
    units = [unit("header", rank=2), unit("kernel", used=9), unit("torn", used=99, rank=0)]
    assert names(units, 300) == ["torn", "kernel", "header"]


def test_empty_file_is_not_evicted_for_nothing():
    assert names([unit("empty", size=0), unit("full", used=1)], 50) == ["full"]


# --- one workspace -----------------------------------------------------------


def test_most_recently_used_is_kept_under_the_cap(workspace: Workspace):
    files = [put(workspace, f"inductor/ab/c{number}.main.so", used=number) for number in range(10)]
    result = evict(workspace, Limits(workspace_bytes=350))
    assert left(*files) == [False] * 7 + [True] * 3
    assert (result.files, result.bytes, result.kept) == (7, 700, 300)
    assert (result.reason, result.troubles) == ("", ())


def test_change_counts_as_use(workspace: Workspace):
    read, changed = (
        put(workspace, "inductor/ab/c1.py", used=50),
        put(workspace, "inductor/ab/c2.py"),
    )
    os.utime(changed, (NOW - 99, NOW + 60))
    evict(workspace, Limits(workspace_bytes=100))
    assert left(read, changed) == [False, True]


def test_under_the_cap_or_without_one_nothing_goes(workspace: Workspace):
    file = put(workspace, "inductor/ab/c1.py")
    assert evict(workspace, Limits(workspace_bytes=100)).kept == 100
    assert evict(workspace).kept is None
    assert file.exists()


def test_quarantine_goes_first_and_headers_last(workspace: Workspace):
    torn = put(workspace, "quarantine/1-c1.main.so", used=99)
    kernel = put(workspace, "inductor/ab/c2.main.so", used=50)
    header = put(workspace, "headers/c3.h.gch")
    for expected in ([False, True, True], [False, False, True], [False, False, False]):
        kept = sum(expected) * 100
        assert evict(workspace, Limits(workspace_bytes=kept)).kept == kept
        assert left(torn, kernel, header) == expected


def test_stamp_locks_and_state_stay_whatever_the_cap(workspace: Workspace):
    stay = [
        put(workspace, "inductor/locks/c1.lock"),
        put(workspace, "headers/locks/c2.lock"),
        put(workspace, "headers/locks/of-another-name"),
        put(workspace, "inductor/ab/c1.lock"),
        put(workspace, "inductor/ab/deep/lock"),
        workspace.inductor / STAMP,
        workspace.state / SHARING_LOCK,
        workspace.state / "whole.json",
    ]
    (workspace.state / "whole.json").write_text("{}")
    put(workspace, "inductor/fxgraph/ab/fkey/entry")
    assert evict(workspace, EVERYTHING).files == 1
    assert all(left(*stay))


@pytest.mark.parametrize("name", [".123.456.tmp", ".compilecache-1-ab.tmp", "tmp.pid_9_ab/c.json"])
def test_unfinished_file_is_left_to_healing(name: str, workspace: Workspace):
    file = put(workspace, f"inductor/triton/0/KEY/{name}")
    assert evict(workspace, EVERYTHING).files == 0
    assert file.exists()


def test_unfinished_file_that_healing_set_aside_goes(workspace: Workspace):
    file = put(workspace, "quarantine/1700000000-.123.456.tmp")
    assert evict(workspace, EVERYTHING).files == 1
    assert not file.exists()


def test_what_neither_we_nor_torch_put_there_stays(tmp_path: Path):
    workspace = make(tmp_path / "root", named=tmp_path / "named")
    theirs = [
        put(workspace, "inductor/results.csv"),
        put(workspace, "inductor/gcc/bin/g++"),
        put(workspace, "inductor/my-model/weights.pt"),
        put(workspace, "inductor/compilecache-torch-2/ab/c1.py"),
    ]
    ours = [
        put(workspace, f"inductor/{folder}/file")
        for folder in ("ab", "7z", "fxgraph/ab", "aotautograd/k", "guarded/fxgraph/ab", "triton/0")
    ]
    assert evict(workspace, EVERYTHING).files == len(ours)
    assert all(left(*theirs))
    assert not any(left(*ours))


def test_emptied_folders_go_and_those_of_the_workspace_stay(workspace: Workspace):
    put(workspace, "inductor/fxgraph/ab/fkey/entry")
    put(workspace, "inductor/ab/c1.py")
    keep = put(workspace, "inductor/fxgraph/cd/fother/entry", used=9)
    evict(workspace, Limits(workspace_bytes=100))
    folders = sorted(path for path in workspace.inductor.rglob("*") if path.is_dir())
    assert folders == sorted(path for path in keep.parents if path.is_relative_to(folders[0]))
    put(workspace, "headers/c2.h.gch")
    evict(workspace, EVERYTHING)
    assert [path.name for path in workspace.inductor.iterdir()] == [STAMP]
    assert list(workspace.headers.iterdir()) == []


def test_links_are_unlinked_and_what_they_lead_to_stays(workspace: Workspace, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    folder = workspace.inductor / "ab"
    folder.mkdir()
    links = [folder / "file", folder / "folder", folder / "nowhere"]
    for link, target in zip(links, (outside / "precious", outside, tmp_path / "no"), strict=True):
        link.symlink_to(target)
    assert evict(workspace, EVERYTHING).files == 3
    assert not folder.exists()
    assert (outside / "precious").read_text() == "x"


@pytest.mark.parametrize("area", ["quarantine", "headers", "inductor"])
def test_link_in_the_place_of_a_folder_is_not_followed(
    area: str, workspace: Workspace, tmp_path: Path
):
    precious = put(workspace, f"{area}/ab/precious")
    moved = tmp_path / "moved"
    precious.parent.parent.rename(moved)
    precious.parent.parent.symlink_to(moved)
    result = evict(workspace, EVERYTHING)
    assert result.files == 0
    assert (area == "inductor") == ("it is a link" in result.reason)
    assert (moved / "ab" / "precious").exists()


@pytest.mark.parametrize("seal", ["__grp__kernel.json", "done"])
def test_folder_that_is_of_use_only_complete_goes_at_once_and_its_seal_first(
    seal: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    kernel = put(workspace, "inductor/triton/0/OLD/kernel.cubin", used=1)
    put(workspace, f"inductor/triton/0/OLD/{seal}", used=1)
    used = put(workspace, f"inductor/triton/0/NEW/{seal}", used=9)
    source = put(workspace, "inductor/triton/0/NEW/kernel.ttir")
    order, unlink = [], os.unlink

    def noting(path: str) -> None:
        order.append(Path(path).name)
        unlink(path)

    monkeypatch.setattr(os, "unlink", noting)
    evict(workspace, Limits(workspace_bytes=250))
    assert order == [seal, "kernel.cubin"]
    assert left(kernel.parent, used, source) == [False, True, True]


def test_seal_that_cannot_be_removed_keeps_the_rest(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    kernel = put(workspace, "inductor/triton/0/KEY/kernel.cubin")
    seal = put(workspace, "inductor/triton/0/KEY/__grp__kernel.json")
    other = put(workspace, "inductor/ab/c1.py", used=9)
    unlink = os.unlink

    def refuse(path: str) -> None:
        if path == str(seal):
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)
    result = evict(workspace, EVERYTHING)
    assert left(kernel, seal, other) == [True, True, False]
    assert [(each.subject, each.reason) for each in result.troubles] == [
        (str(seal), "it cannot be evicted: Operation not permitted")
    ]


def test_note_that_a_library_once_loaded_goes_before_it(workspace: Workspace):
    library = put(workspace, "inductor/ab/cprobe.so", used=1)
    note = put(workspace, "inductor/ab/cprobe.so.load_ok", size=0, used=50)
    newer = put(workspace, "inductor/ab/c2.py", used=20)
    evict(workspace, Limits(workspace_bytes=100))
    assert left(library, note, newer) == [True, True, False]
    evict(workspace, EVERYTHING)
    assert left(library, note) == [False, False]


@pytest.mark.parametrize("stamp", [None, "torch-2", "\udcff"])
def test_folder_without_our_stamp_is_left_alone(stamp: str | None, workspace: Workspace):
    file = put(workspace, "inductor/ab/c1.py")
    (workspace.inductor / STAMP).unlink()
    if stamp:
        (workspace.inductor / STAMP).write_text(stamp, errors="surrogateescape")
    result = evict(workspace, EVERYTHING)
    assert (result.files, result.reason) == (
        0,
        f"{workspace.inductor}: it has no stamp of environment torch-1",
    )
    assert file.exists()


def test_workspace_that_was_never_made_is_no_error(tmp_path: Path):
    result = evict(choose_workspace(tmp_path / "nowhere", "torch-1", None), EVERYTHING)
    assert (result.files, result.troubles) == (0, ())
    assert not (tmp_path / "nowhere").exists()


def test_session_that_has_not_released_its_workspace_evicts_nothing(workspace: Workspace):
    file = put(workspace, "inductor/ab/c1.py")
    with SharedWorkspace(workspace, "torch-1"):
        assert "in use" in evict(workspace, EVERYTHING).reason
    assert file.exists()
    assert evict(workspace, EVERYTHING).files == 1


# --- those of other environments ---------------------------------------------


def age(workspace: Workspace, days: float) -> None:
    """Let it have been used so long ago."""
    lock = workspace.state / SHARING_LOCK
    lock.touch()
    os.utime(lock, (time.time() - days * DAY,) * 2)


@pytest.fixture
def other(tmp_path: Path) -> Workspace:
    """An environment's workspace that was not used for a year."""
    other = make(tmp_path / "root", "torch-0")
    put(other, "inductor/ab/c1.py")
    put(other, "headers/c2.h.gch")
    age(other, 365)
    return other


def test_workspace_that_was_not_used_for_long_is_removed(workspace: Workspace, other: Workspace):
    file = put(workspace, "inductor/ab/c1.py")
    result = evict(workspace)
    assert (result.workspaces, result.troubles) == (("torch-0",), ())
    assert [path.name for path in workspace.root.parent.iterdir()] == ["torch-1"]
    assert file.exists()


def test_workspace_that_was_used_within_the_time_stays(workspace: Workspace, other: Workspace):
    age(other, 29)
    assert evict(workspace).workspaces == ()
    assert evict(workspace, Limits(keep_seconds=28 * DAY)).workspaces == ("torch-0",)


def test_own_workspace_stays_however_old(workspace: Workspace):
    age(workspace, 365)
    assert evict(workspace).workspaces == ()
    assert workspace.inductor.is_dir()


def test_age_of_a_workspace_that_was_never_shared_begins_now(
    workspace: Workspace, other: Workspace
):
    lock = other.state / SHARING_LOCK
    lock.unlink()
    assert evict(workspace).workspaces == ()
    assert time.time() - lock.stat().st_mtime < 3600


def test_workspace_in_use_stays_however_old(workspace: Workspace, other: Workspace):
    with SharedWorkspace(other, "torch-0"):
        age(other, 365)
        assert evict(workspace).workspaces == ()
    age(other, 365)
    assert evict(workspace).workspaces == ("torch-0",)


def test_others_are_removed_also_where_the_own_is_in_use(workspace: Workspace, other: Workspace):
    with SharedWorkspace(workspace, "torch-1"):
        result = evict(workspace, EVERYTHING)
    assert (result.workspaces, "in use" in result.reason) == (("torch-0",), True)


def without_stamp(other: Workspace) -> None:
    (other.inductor / STAMP).unlink()


def with_another_stamp(other: Workspace) -> None:
    (other.inductor / STAMP).write_text("torch-1")


def without_state(other: Workspace) -> None:
    shutil.rmtree(other.state)


def test_workspace_whose_artifacts_lay_where_the_user_said_is_removed_by_its_own_stamp(
    workspace: Workspace, other: Workspace
):
    shutil.rmtree(other.inductor)
    assert evict(workspace, Limits(keep_seconds=0)).workspaces == ("torch-0",)


def behind_a_link(other: Workspace) -> None:
    moved = other.root.parent.parent / "moved"
    other.root.rename(moved)
    other.root.symlink_to(moved)


def with_artifacts_behind_a_link(other: Workspace) -> None:
    moved = other.root.parent.parent / "moved"
    other.inductor.rename(moved)
    other.inductor.symlink_to(moved)


@pytest.mark.parametrize(
    "change",
    [without_stamp, with_another_stamp, without_state, behind_a_link, with_artifacts_behind_a_link],
)
def test_folder_that_is_not_of_our_making_stays(change, workspace: Workspace, other: Workspace):
    change(other)
    before = sorted(other.root.rglob("*"))
    assert evict(workspace, Limits(keep_seconds=0)).workspaces == ()
    assert sorted(other.root.rglob("*")) == before


def test_links_in_a_removed_workspace_are_not_followed(
    workspace: Workspace, other: Workspace, tmp_path: Path
):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    (other.inductor / "ab" / "folder").symlink_to(outside)
    other.headers.rename(outside / "headers")
    other.headers.symlink_to(outside / "headers")
    assert evict(workspace).workspaces == ("torch-0",)
    assert left(outside / "precious", outside / "headers" / "c2.h.gch") == [True, True]


def test_what_a_killed_evictor_left_is_removed(workspace: Workspace, other: Workspace):
    left_over = other.root.rename(other.root.with_name(".compilecache-evicted-torch-0-1"))
    assert evict(workspace).workspaces == ()
    assert not left_over.exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may remove everything")
def test_workspace_that_cannot_be_removed_is_told(workspace: Workspace, other: Workspace):
    (other.inductor / "ab").chmod(0o500)
    (trouble,) = evict(workspace).troubles
    assert "could not be removed as a whole" in trouble.reason
    Path(trouble.subject, "inductor", "ab").chmod(0o700)


def test_on_a_network_file_system_nothing_is_evicted(
    workspace: Workspace, other: Workspace, monkeypatch: pytest.MonkeyPatch
):
    file = put(workspace, "inductor/ab/c1.py")
    monkeypatch.setattr(sharing, "filesystem_of", lambda _: Filesystem("/", "nfs4"))
    result = evict(workspace, EVERYTHING)
    assert (result.files, result.workspaces) == (0, ())
    assert "network" in result.reason
    assert left(file, other.root) == [True, True]


def test_deciding_what_to_evict_imports_nothing_heavy():
    program = (
        "import sys; import pytest_compilecache.workspace.evict; "
        "print({'torch', 'pytest', 'filelock', 'platformdirs'} & set(sys.modules))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "set()"
