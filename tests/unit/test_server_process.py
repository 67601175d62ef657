from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pytest_compilecache import api
from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.torchhooks import cache_folders, names
from tests.unit.server import Server, deployment_in

SUCCESS, SKIPPED = OperationStatus.SUCCESS, OperationStatus.SKIPPED
ERROR, DOES_NOT_EXIST = OperationStatus.ERROR, OperationStatus.DOES_NOT_EXIST
THREADS = "TORCHINDUCTOR_CPP_DYNAMIC_THREADS"

Start = Callable[[dict[str, str]], Server]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    # Other tests of this process may have compiled.
    monkeypatch.setattr(api, "compiled_before", lambda: False)
    started: list[Server] = []

    def start(environ: dict[str, str]) -> Server:
        started.append(Server({**environ}))
        return started[-1]

    yield start
    for server in started:
        server.process.end()


@pytest.fixture
def users(tmp_path: Path) -> dict[str, str]:
    return deployment_in(tmp_path)


@pytest.fixture
def server(start: Start, users: dict[str, str]) -> Server:
    return start(users)


def elsewhere(users: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return {**users, "LOCAL_WORK_DIR": str(tmp_path / "elsewhere")}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_results_tell_files_bytes_and_seconds(server: Server):
    assert server.load().status is DOES_NOT_EXIST
    server.compile(content=b"x = 22\n")
    saved = server.save()
    assert (saved.status, saved.files, saved.bytes, saved.packs) == (SUCCESS, 1, 7, 1)
    assert saved.seconds > 0
    assert saved.troubles == ()


def test_torch_is_pointed_at_the_workspace(server: Server, tmp_path: Path):
    server.load()
    assert server.inductor.is_relative_to(tmp_path / "work" / f"compilecache-{os.getuid()}")
    assert server.inductor.is_dir()


@pytest.mark.parametrize(("users_choice", "expected"), [(None, "1"), ("0", "0"), ("1", "1")])
def test_threads_are_left_out_of_the_keys_unless_the_user_decided(
    users_choice: str | None,
    expected: str,
    start: Start,
    users: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delitem(sys.modules, "torch._inductor.config", raising=False)
    server = start({**users, THREADS: users_choice} if users_choice else users)
    server.load()
    assert server.environ[THREADS] == expected


def test_threads_that_inductor_has_read_already_are_said_to_be_in_the_keys(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "torch._inductor.config", ModuleType("config"))
    with caplog.at_level(logging.INFO, "pytest_compilecache"):
        server.load()
    assert THREADS not in server.environ
    assert "Inductor was imported before load_compile_cache()" in caplog.text


# --- the same workspace again -----------------------------------------------

WHERE = pytest.mark.parametrize("where", ["nowhere", "empty folder"])


def name_a_folder(where: str, users: dict[str, str], tmp_path: Path) -> None:
    if where == "nowhere":
        return
    folder = tmp_path / "named"
    folder.mkdir(mode=0o700)
    users["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    if where == "folder with files":
        (folder / "theirs.py").write_text("theirs = 1\n")
        (folder / "torn.so").touch()


@WHERE
@pytest.mark.parametrize("inherits", [True, False], ids=["child", "process of its own"])
def test_another_process_with_the_same_variables_saves_what_this_one_compiled(
    where: str, inherits: bool, start: Start, users: dict[str, str], tmp_path: Path
):
    name_a_folder(where, users, tmp_path)
    server = start(users)
    server.load()
    server.compile()
    other = start(server.environ if inherits else users)
    assert other.save().status is SUCCESS
    assert other.load().status is SKIPPED
    assert other.inductor == server.inductor


@WHERE
def test_loading_again_changes_nothing(
    where: str, start: Start, users: dict[str, str], tmp_path: Path
):
    name_a_folder(where, users, tmp_path)
    server = start(users)
    server.load()
    environ, hooks = {**server.environ}, [*sys.meta_path]
    server.load()
    server.save()
    assert server.environ == environ
    assert sys.meta_path == hooks


def test_empty_folder_that_the_user_named_is_used_itself(
    start: Start, users: dict[str, str], tmp_path: Path
):
    name_a_folder("empty folder", users, tmp_path)
    server = start(users)
    server.load()
    assert server.inductor == tmp_path / "named"


def test_folder_with_files_of_others_is_followed_and_nothing_is_shared_with_it(
    start: Start, users: dict[str, str], tmp_path: Path
):
    shared = start(users)
    shared.load()
    shared.compile("caa")
    shared.save()
    name_a_folder("folder with files", users, tmp_path)
    server = start(users)
    loaded = server.load()
    assert (loaded.status, loaded.usable) == (ERROR, True)
    assert "holds artifacts of an unknown environment" in loaded.troubles[0].reason
    assert server.inductor == tmp_path / "named"
    # Not even a stamp, by which the next session would take it for its own.
    assert {path.name for path in server.inductor.iterdir()} - {"locks"} == {
        "theirs.py",
        "torn.so",
    }
    server.compile()
    assert server.save().status is ERROR
    assert len(server.packs) == 1


def test_folder_that_torch_itself_chose_is_not_taken_for_the_users(
    start: Start, users: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Torch sets the variable where it is unset, as in a process that compiled before."""
    default = tmp_path / "torchinductor_me"
    folders = ModuleType("cache_dir_utils")
    folders.default_cache_dir = lambda: str(default)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch._inductor.runtime.cache_dir_utils", folders)
    users["TORCHINDUCTOR_CACHE_DIR"] = str(default)
    server = start(users)
    server.load()
    assert server.inductor.is_relative_to(tmp_path / "work")
    server.process.end()
    assert server.environ == users


def test_process_that_ended_has_given_everything_back(
    start: Start, users: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    codecache = ModuleType("codecache")
    codecache._HEADER_DIR = "torch's own"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, names.DYNAMO, ModuleType("dynamo"))
    monkeypatch.setitem(sys.modules, names.CODECACHE, codecache)
    hooks = [*sys.meta_path]
    server = start(users)
    server.load()
    assert server.environ != users
    assert Path(codecache._HEADER_DIR) == server.inductor.parent / "headers"
    server.process.end()
    assert server.environ == users
    assert codecache._HEADER_DIR == "torch's own"
    assert sys.meta_path == hooks


def test_environment_that_changed_since_the_load_is_not_saved_as_another(server: Server):
    server.load()
    server.compile()
    server.environ["ATEN_CPU_CAPABILITY"] = "avx2"
    result = server.save()
    assert result.status is ERROR
    (trouble,) = result.troubles
    assert "the environment has changed" in trouble.reason
    assert "aten_cpu_capability: avx2 here, unset there" in trouble.reason
    assert server.packs == []


# --- trouble ----------------------------------------------------------------


def test_save_over_its_limit_is_an_error_with_sizes_and_remedy_and_publishes_nothing(
    start: Start, users: dict[str, str]
):
    server = start({**users, "MAX_CACHE_SIZE_MB": "1"})
    server.load()
    for name in ("cab", "ccd"):
        server.compile(name, b"# " + os.urandom(1 << 20).hex().encode() + b"\n")
    result = server.save()
    assert result.status is ERROR
    (trouble,) = result.troubles
    assert "1,048,576" in trouble.reason
    assert "raise" in trouble.remedy
    assert server.packs == []
    server.environ["MAX_CACHE_SIZE_MB"] = "4"
    assert server.save().status is SUCCESS
    assert len(server.packs) == 1


@pytest.mark.parametrize("call", [Server.load, Server.save])
def test_place_that_cannot_be_used_is_an_error_and_torch_is_left_alone(
    call: Callable[[Server], CacheResult], server: Server, users: dict[str, str], tmp_path: Path
):
    (tmp_path / "work").write_text("a file in the place of the folder")
    result = call(server)
    assert (result.status, result.usable) == (ERROR, False)
    (trouble,) = result.troubles
    assert "LOCAL_WORK_DIR" in trouble.remedy
    assert server.environ == users


@pytest.mark.parametrize("call", [Server.load, Server.save])
def test_workspace_that_others_can_write_to_is_neither_loaded_nor_saved(
    call: Callable[[Server], CacheResult], server: Server, tmp_path: Path
):
    server.load()
    server.compile()
    (tmp_path / "work" / f"compilecache-{os.getuid()}").chmod(0o777)
    result = call(server)
    assert result.status is ERROR
    assert re.search("written to by others|everybody can replace", result.troubles[0].reason)
    assert server.packs == []


def test_damaged_pack_is_an_error_and_torch_uses_the_workspace(
    server: Server, start: Start, users: dict[str, str], tmp_path: Path
):
    server.load()
    server.compile()
    server.save()
    (pack,) = server.packs
    pack.chmod(0o600)
    pack.write_bytes(pack.read_bytes()[:-10])
    fresh = start(elsewhere(users, tmp_path))
    assert fresh.load().status is ERROR
    assert fresh.inductor.is_dir()


def test_hook_that_fails_in_the_middle_of_torchs_import_is_logged(
    server: Server,
    users: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def fail(_: object, directory: Path) -> None:
        raise RuntimeError(f"no {directory.name}")

    monkeypatch.setattr(cache_folders, "redirect_headers", fail)
    monkeypatch.setitem(sys.modules, names.DYNAMO, ModuleType("dynamo"))
    monkeypatch.setitem(sys.modules, names.CODECACHE, ModuleType("codecache"))
    assert server.load().status is DOES_NOT_EXIST
    (warning,) = warnings_of(caplog)
    assert warning.startswith("compile cache: off, for the hook the headers failed: RuntimeError")
    assert server.environ == users
    assert server.process.users_environ == users


def test_compiling_before_the_load_is_told_once(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "compiled_before", lambda: True)
    (without,) = server.save().troubles
    assert "compiled without load_compile_cache()" in without.reason
    (before,) = server.load().troubles
    assert "compiled before it" in before.reason
    assert before.remedy == "call it before the first compile"
    assert server.load().troubles == ()
    assert server.save().troubles == ()
