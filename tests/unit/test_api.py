from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pytest_compilecache
from pytest_compilecache import api
from pytest_compilecache.api import load_compile_cache, save_compile_cache
from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.errors import CompileCacheWarning, SettingsError
from tests.unit.server import Server, deployment_in

SUCCESS, SKIPPED = OperationStatus.SUCCESS, OperationStatus.SKIPPED
ERROR, DOES_NOT_EXIST = OperationStatus.ERROR, OperationStatus.DOES_NOT_EXIST
NAMES = (
    "load_compile_cache",
    "load_compile_cache_result",
    "save_compile_cache",
    "save_compile_cache_result",
)

Start = Callable[[dict[str, str]], Server]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts servers; the calls are those of the last one."""
    # Other tests of this process may have compiled.
    monkeypatch.setattr(api, "compiled_before", lambda: False)
    started: list[Server] = []

    def start(environ: dict[str, str]) -> Server:
        server = Server({**environ})
        started.append(server)
        monkeypatch.setattr(api, "_process", lambda: server.process)
        return server

    yield start
    for server in started:
        server.process.end()


@pytest.fixture
def users(tmp_path: Path) -> dict[str, str]:
    return deployment_in(tmp_path)


@pytest.fixture
def server(start: Start, users: dict[str, str]) -> Server:
    return start(users)


def test_life_of_two_replicas(server: Server, start: Start, users: dict[str, str], tmp_path: Path):
    assert load_compile_cache() is DOES_NOT_EXIST
    server.compile()
    assert save_compile_cache() is SUCCESS
    assert save_compile_cache() is SKIPPED
    assert load_compile_cache() is SKIPPED

    fresh = start({**users, "LOCAL_WORK_DIR": str(tmp_path / "elsewhere")})
    assert load_compile_cache() is SUCCESS
    assert (fresh.inductor / "ab" / "cab.py").read_text() == "x = 1\n"
    assert load_compile_cache() is SKIPPED
    assert save_compile_cache() is SKIPPED


def test_store_may_be_given_to_the_calls(server: Server, tmp_path: Path):
    other = tmp_path / "other"
    assert load_compile_cache(store=other) is DOES_NOT_EXIST
    server.compile()
    assert save_compile_cache(store=str(other)) is SUCCESS
    assert load_compile_cache() is DOES_NOT_EXIST
    assert load_compile_cache(store=other) is SKIPPED
    assert server.packs == []


def test_trouble_is_logged_once_with_reason_and_remedy_and_not_raised(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "store").write_text("a file in the place of the store")
    assert load_compile_cache() is ERROR
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("pytest_compilecache", "WARNING")
    warning = record.getMessage()
    assert warning.startswith(f"compile cache: {tmp_path / 'store'}: there is a file instead")
    assert "(move the file away" in warning
    assert server.inductor.is_dir(), "torch can still use the workspace"


def test_good_news_are_information_with_numbers_and_the_store(
    server: Server, start: Start, users: dict[str, str], tmp_path: Path, caplog
):
    caplog.set_level(logging.INFO, "pytest_compilecache")
    load_compile_cache()
    server.compile()
    save_compile_cache()
    save_compile_cache()
    start({**users, "LOCAL_WORK_DIR": str(tmp_path / "elsewhere")})
    load_compile_cache()
    load_compile_cache()
    store = str(tmp_path / "store")
    said = [record.getMessage() for record in caplog.records if store in record.getMessage()]
    assert [text.split(",")[0].replace(store, "it") for text in said] == [
        "compile cache: nothing to load: it holds nothing of this environment",
        "compile cache: saved 1 file",
        "compile cache: nothing new to save to it",
        "compile cache: loaded 1 file",
        "compile cache: nothing to load: what it holds is here already",
    ]


def test_environment_that_the_store_knows_nothing_of_is_compared_with_the_nearest(
    server: Server, start: Start, users: dict[str, str], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "pytest_compilecache")
    load_compile_cache()
    server.compile()
    save_compile_cache()
    start({**users, "ATEN_CPU_CAPABILITY": "avx2"})
    assert load_compile_cache() is DOES_NOT_EXIST
    assert "differs: aten_cpu_capability is avx2 here and unset there" in caplog.messages[-1]


# --- settings ---------------------------------------------------------------


@pytest.mark.parametrize("call", [load_compile_cache, save_compile_cache])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAX_CACHE_SIZE_MB", "much"),
        ("MAX_CONCURRENT_SAVES", "2.5"),
        ("LOCK_TIMEOUT_CAP_SECONDS", "1h"),
        ("B10FS_CACHE_DIR", "gopher://store"),
        ("B10FS_CACHE_DIR", "~nobody-of-this-name/store"),
        ("TORCHINDUCTOR_CACHE_DIR", "/dev/shm"),
        ("LOCAL_WORK_DIR", "/dev/shm"),
        ("LOCAL_WORK_DIR", "/dev/null"),
    ],
)
def test_wrong_setting_is_raised_by_name_and_nothing_is_done(
    variable: str,
    value: str,
    call: Callable[[], OperationStatus],
    start: Start,
    users: dict[str, str],
    tmp_path: Path,
):
    if value.startswith("/dev") and not Path(value).exists():
        pytest.skip(f"no {value} here")
    server = start({**users, variable: value})
    with pytest.raises(SettingsError) as caught:
        call()
    assert caught.value.subject == variable
    assert caught.value.remedy
    assert server.environ == {**users, variable: value}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_clamped_number_is_a_warning_at_the_callers_line(
    name: str, start: Start, users: dict[str, str]
):
    start({**users, "MAX_CONCURRENT_SAVES": "101"})
    with pytest.warns(CompileCacheWarning, match="101 is out of the range from 1 to 100") as caught:
        getattr(api, name)()
    assert [Path(each.filename) for each in caught] == [Path(__file__)]


# --- what it costs to import ------------------------------------------------


def run(code: str, **environ: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=True,
        text=True,
        capture_output=True,
        # Torch sets the variable of its folder by itself, in a process that compiled.
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": "", **environ},
    )
    return done.stdout.split()


def test_importing_the_package_loads_nothing_of_it():
    code = """
        import __future__, sys, typing
        before = set(sys.modules)
        import pytest_compilecache
        print(*sorted(set(sys.modules) - before))
    """
    assert run(code) == ["pytest_compilecache"]


def test_neither_torch_nor_pytest_is_imported_by_the_calls(users: dict[str, str]):
    code = """
        import sys
        from pytest_compilecache import load_compile_cache, save_compile_cache
        print(load_compile_cache().name, save_compile_cache().name)
        print(*{"torch", "triton", "numpy", "pytest", "_pytest"} & set(sys.modules))
    """
    assert run(code, **users) == ["DOES_NOT_EXIST", "SKIPPED"]


def test_both_calls_work_with_no_variable_set(tmp_path: Path):
    code = """
        import pytest_compilecache as cache
        print(cache.load_compile_cache().name, cache.save_compile_cache().name)
    """
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    environ = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    assert run(code, **environ) == ["DOES_NOT_EXIST", "SKIPPED"]


def test_public_names_are_found_and_listed():
    for name in (*NAMES, "OperationStatus", "CacheResult"):
        assert name in dir(pytest_compilecache)
        assert name in pytest_compilecache.__all__
        assert getattr(pytest_compilecache, name).__name__ == name
    assert pytest_compilecache.OperationStatus is OperationStatus
    names = {"SUCCESS", "SKIPPED", "ERROR", "DOES_NOT_EXIST"}
    assert {status.name for status in OperationStatus} == names


def test_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_everything'"):
        pytest_compilecache.load_everything  # noqa: B018
