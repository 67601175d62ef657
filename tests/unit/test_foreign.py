from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus, restore, save
from pytest_compilecache.environment import Environment
from pytest_compilecache.workspace.foreign import (
    ForeignWorkspace,
    choose_for_child,
    choose_for_neighbour,
    torch_default,
)
from pytest_compilecache.workspace.heal import heal
from pytest_compilecache.workspace.place import STAMP, Workspace
from pytest_compilecache.workspace.scan import is_artifact, scan

ENVIRONMENT = Environment({"torch": "1"})


@pytest.fixture(autouse=True)
def private_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir(mode=0o700)


@pytest.fixture
def users(tmp_path: Path) -> dict[str, str]:
    return {"USER": "ann", "XDG_CACHE_HOME": str(tmp_path / "caches")}


def put(location: Path, text: str = "x") -> Path:
    location.parent.mkdir(parents=True, exist_ok=True)
    location.write_text(text)
    return location


def test_child_works_in_our_folders_and_looks_for_headers_where_torch_does(
    tmp_path: Path, users: dict[str, str]
):
    workspace = choose_for_child(tmp_path / "root", "torch-1", users)
    assert workspace.inductor == tmp_path / "root" / "v1" / "torch-1" / "inductor"
    assert workspace.vllm == workspace.root / "vllm"
    assert workspace.headers == tmp_path / "tmp" / "torchinductor_ann" / "precompiled_headers"


def test_neighbour_works_where_nobody_told_it_anything(tmp_path: Path, users: dict[str, str]):
    workspace = choose_for_neighbour(tmp_path / "root", "torch-1", users)
    assert workspace.inductor == tmp_path / "tmp" / "torchinductor_ann"
    assert workspace.vllm == tmp_path / "caches" / "vllm"
    assert workspace.refused == ()


@pytest.mark.parametrize(
    "users",
    [{"LOGNAME": "", "USER": "ann"}, {"USERNAME": "o/d:d"}, {"LOGNAME": "bo", "USER": "ann"}, {}],
)
def test_default_folder_is_the_one_that_torch_takes(
    users: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # noqa: PLC0415

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in users.items():
        monkeypatch.setenv(name, value)
    assert torch_default(dict(os.environ)) == Path(default_cache_dir())


def test_folder_that_was_filled_before_is_left_alone(tmp_path: Path, users: dict[str, str]):
    put(tmp_path / "tmp" / "torchinductor_ann" / "ab" / "c.py")
    workspace = choose_for_neighbour(tmp_path / "root", "torch-1", users)
    assert [area for area, _ in workspace.refused] == ["unguarded"]
    assert [area for area, _ in workspace.areas()] == ["headers", "vllm"]
    workspace.prepare("torch-1")
    assert not (tmp_path / "tmp" / "torchinductor_ann" / STAMP).exists()


def test_folder_that_was_ours_is_used_again_and_by_no_other_environment(
    tmp_path: Path, users: dict[str, str]
):
    first = choose_for_neighbour(tmp_path / "root", "torch-1", users)
    first.prepare("torch-1")
    put(first.inductor / "ab" / "c.py")
    put(first.vllm / "torch_compile_cache" / "model")
    put(first.headers / "c.h.gch")
    assert choose_for_neighbour(tmp_path / "root", "torch-1", users) == first
    other = choose_for_neighbour(tmp_path / "root", "torch-2", users)
    assert {area for area, _ in other.refused} == {"unguarded", "headers", "vllm"}


def test_vllms_other_files_do_not_make_its_folder_foreign(tmp_path: Path, users: dict[str, str]):
    put(tmp_path / "caches" / "vllm" / "assets" / "picture")
    assert choose_for_neighbour(tmp_path / "root", "torch-1", users).refused == ()
    put(tmp_path / "caches" / "vllm" / "torch_compile_cache" / "model")
    assert choose_for_neighbour(tmp_path / "root2", "torch-1", users).refused[0][0] == "vllm"


def test_folder_that_others_can_write_to_is_left_alone(tmp_path: Path, users: dict[str, str]):
    folder = tmp_path / "tmp" / "torchinductor_ann"
    folder.mkdir()
    folder.chmod(0o777)
    workspace = choose_for_neighbour(tmp_path / "root", "torch-1", users)
    assert "unguarded" in dict(workspace.refused)
    assert not workspace.inductor.is_relative_to(folder)
    assert list(folder.iterdir()) == []


def test_scan_finds_what_travels_and_nothing_else(tmp_path: Path, users: dict[str, str]):
    workspace = choose_for_neighbour(tmp_path / "root", "torch-1", users)
    workspace.prepare("torch-1")
    travels = {
        "unguarded/fxgraph/ab/key/entry": workspace.inductor / "fxgraph/ab/key/entry",
        "unguarded/ab/c.cpp": workspace.inductor / "ab/c.cpp",
        "headers/c.h": workspace.headers / "c.h",
        "vllm/torch_compile_cache/a/model": workspace.vllm / "torch_compile_cache/a/model",
        "vllm/modelinfos/llama.json": workspace.vllm / "modelinfos/llama.json",
    }
    stays = {
        "unguarded/dynamo/state": workspace.inductor / "dynamo/state",
        "unguarded/locks/c.lock": workspace.inductor / "locks/c.lock",
        "unguarded/guarded/fxgraph/e": workspace.inductor / "guarded/fxgraph/e",
        "unguarded/precompiled_headers/c.h": workspace.headers / "c.h",
        "vllm/assets/picture": workspace.vllm / "assets/picture",
        "vllm/gpu_p2p.json": workspace.vllm / "gpu_p2p.json",
    }
    for location in (*travels.values(), *stays.values()):
        put(location, "{}")
    assert set(scan(workspace)) == set(travels)
    assert all(map(is_artifact, travels))
    assert not any(map(is_artifact, stays))


def test_area_that_is_left_alone_gets_nothing_from_a_pack(tmp_path: Path, users: dict[str, str]):
    full = choose_for_child(tmp_path / "full", "torch-1", {**users, "USER": "bo"})
    full.prepare(ENVIRONMENT.id)
    put(full.inductor / "ab" / "c.py", "x = 1")
    put(full.vllm / "torch_compile_cache" / "model")
    store = str(tmp_path / "store")
    assert save(full, ENVIRONMENT, store).files == 2
    root = tmp_path / "part"
    part = ForeignWorkspace(
        root, root / "inductor", root / "headers", vllm=root / "vllm", refused=(("vllm", "why"),)
    )
    result = restore(part, ENVIRONMENT, store)
    assert (result.status, result.files) == (OperationStatus.SUCCESS, 1)
    assert not part.vllm.exists()


def test_protected_workspace_takes_nothing_of_a_command(tmp_path: Path, users: dict[str, str]):
    """Even where a pack of commands lay in its environment."""
    full = choose_for_child(tmp_path / "full", "torch-1", users)
    full.prepare(ENVIRONMENT.id)
    put(full.inductor / "fxgraph" / "ab" / "key" / "entry")
    save(full, ENVIRONMENT, str(tmp_path / "store"))
    root = tmp_path / "protected"
    protected = Workspace(root, root / "inductor", root / "headers")
    assert restore(protected, ENVIRONMENT, str(tmp_path / "store")).files == 0
    assert not list(root.rglob("entry"))


def test_torn_file_that_a_live_compiler_writes_deep_in_vllms_folder_is_left_alone(
    tmp_path: Path, users: dict[str, str]
):
    workspace = choose_for_child(tmp_path / "root", "torch-1", users)
    workspace.prepare("torch-1")
    inductor = workspace.vllm / "torch_compile_cache" / "key" / "inductor_cache"
    library = put(inductor / "ab" / "cab.main.so", "half")
    lock = inductor / "locks" / "cab.lock"
    lock.parent.mkdir()
    hold = (
        "import filelock, sys\n"
        f"with filelock.FileLock({str(lock)!r}):\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as compiler:
        assert compiler.stdout is not None
        compiler.stdout.readline()
        assert heal(workspace).torn == ()
        compiler.communicate()
    assert library.exists()
    assert [torn.path.rpartition("/")[2] for torn in heal(workspace).torn] == ["cab.main.so"]
