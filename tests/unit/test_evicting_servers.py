"""Servers and commands bring their workspace down to its limit, and take nothing from anybody."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache import api, cache
from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.limits import MIB, Limits
from pytest_compilecache.server.keeping import CommandProcess, Relation
from pytest_compilecache.server_settings import read_server_settings
from pytest_compilecache.workspace.evict import evict
from pytest_compilecache.workspace.foreign import ForeignWorkspace
from pytest_compilecache.workspace.sharing import EVICTING_LOCK, sole_use, try_locks
from tests.unit.server import Server, deployment_in

HOUR = 3600
Start = Callable[[], Server]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Starts servers of one machine, whose workspace may take one MiB."""
    monkeypatch.setattr(api, "compiled_before", lambda: False)
    environ = {**deployment_in(tmp_path), "MAX_WORKSPACE_SIZE_MB": "1"}
    started: list[Server] = []

    def start() -> Server:
        started.append(Server({**environ}))
        started[-1].load()
        return started[-1]

    yield start
    for server in started:
        server.process.end()


@pytest.fixture
def server(start: Start) -> Server:
    return start()


def old(file: Path, hours: int) -> Path:
    """Let it have been used so long ago."""
    os.utime(file, (time.time() - hours * HOUR,) * 2)
    return file


def put(file: Path, hours: int) -> Path:
    """An artifact of 600 kB that no process of today used."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"#" + os.urandom(300_000).hex().encode() + b"\n")
    return old(file, hours)


def compiled(server: Server, *hours: int) -> list[Path]:
    """Artifacts of so many hours ago, saved then."""
    files = [put(server.inductor / "ab" / f"c{each}.py", each) for each in hours]
    server.environ["MAX_WORKSPACE_SIZE_MB"] = "100"
    server.save()
    server.environ["MAX_WORKSPACE_SIZE_MB"] = "1"
    return [old(file, each) for file, each in zip(files, hours, strict=True)]


def left(*files: Path) -> list[bool]:
    return [file.exists() for file in files]


def test_save_brings_the_workspace_down_to_its_limit_and_the_oldest_goes_first(
    server: Server, caplog: pytest.LogCaptureFixture
):
    files = compiled(server, 1, 3, 2)
    server.compile()
    with caplog.at_level(logging.INFO, "pytest_compilecache"):
        result = server.save()
    assert result.status is OperationStatus.SUCCESS
    assert left(*files) == [True, False, False]
    assert "evicted 2 unused files, 1.2 MB, from the workspace" in caplog.text


def test_what_is_only_read_to_be_judged_or_packed_is_not_used(server: Server):
    """Neither by the file system's times, which decide what goes first, nor by our own record."""
    newer, older = (put(server.inductor / "ab" / f"c{hours}.py", hours) for hours in (1, 2))
    server.load()
    assert server.save().files == 2
    assert left(newer, older) == [True, False]


def test_under_the_limit_nothing_goes(server: Server):
    files = [*compiled(server, 1), server.compile()]
    server.save()
    assert left(*files) == [True, True]


def test_what_this_process_opened_or_made_stays_whatever_the_limit(server: Server):
    opened, made, unused = compiled(server, 9, 1, 2)
    with opened.open("rb") as file:
        file.read(1)
    made.touch()
    server.save()
    assert left(opened, made, unused) == [True, True, False]


def test_another_live_process_keeps_everything_and_its_end_gives_it_free(
    server: Server, start: Start
):
    other = start()
    files = compiled(server, 1, 2)
    server.save()
    assert left(*files) == [True, True]
    other.process.end()
    server.save()
    assert left(*files) == [True, False]


def test_load_that_runs_at_this_moment_keeps_everything(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In the same process, and so under the same locks' owner."""
    files = compiled(server, 1, 2)
    reached, go = threading.Event(), threading.Event()
    restore = cache.restore

    def waiting(*args: Any, **kwargs: Any) -> Any:
        reached.set()
        go.wait()
        return restore(*args, **kwargs)

    monkeypatch.setattr(cache, "restore", waiting)
    other = Server({**deployment_in(tmp_path), "MAX_WORKSPACE_SIZE_MB": "1"})
    loading = threading.Thread(target=other.load)
    loading.start()
    reached.wait()
    try:
        server.save()
        assert left(*files) == [True, True]
    finally:
        go.set()
        loading.join()
    other.process.end()
    server.save()
    assert left(*files) == [True, False]


def test_process_that_evicted_goes_on_keeping_others_from_it(server: Server):
    _, gone = compiled(server, 1, 2)
    server.save()
    assert not gone.exists()
    site = server.process._process.locate()
    assert "in use" in evict(site.workspace, Limits(workspace_bytes=0)).reason


def test_while_it_lets_go_of_its_own_use_nobody_else_can_evict(server: Server):
    workspace, use = server.process._process.locate().workspace, server.process._process._use
    assert use is not None
    with sole_use(workspace, use) as reason:
        assert reason == ""
        assert try_locks(workspace, EVICTING_LOCK, exclusive=True) == []
    assert use.held
    turn = try_locks(workspace, EVICTING_LOCK, exclusive=True)
    with sole_use(workspace, use) as reason:
        assert "in use" in reason
        assert use.held
    for lock in turn:
        lock.close()


def test_process_that_only_saves_evicts_as_well(start: Start, tmp_path: Path):
    server = start()
    files = compiled(server, 1, 2)
    server.process.end()
    saver = Server({**deployment_in(tmp_path), "MAX_WORKSPACE_SIZE_MB": "1"})
    assert saver.save().status is OperationStatus.SKIPPED
    assert left(*files) == [True, False]


def test_what_was_evicted_does_not_come_back_with_the_next_load(server: Server, start: Start):
    files = compiled(server, 1, 2)
    server.save()
    server.process.end()
    next_one = start()
    next_one.load()
    assert left(*files) == [True, False]


# --- commands ----------------------------------------------------------------


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Relation], CommandProcess]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    environ = {
        **deployment_in(tmp_path),
        "MAX_WORKSPACE_SIZE_MB": "1",
        "HOME": str(tmp_path / "home"),
        "VLLM_CACHE_ROOT": "",
        "XDG_CACHE_HOME": str(tmp_path / "caches"),
    }

    def make(relation: Relation) -> CommandProcess:
        keeper = CommandProcess(read_server_settings(environ), relation, "always", environ=environ)
        assert keeper.load_here().usable
        return keeper

    return make


def workspace_of(keeper: CommandProcess) -> ForeignWorkspace:
    assert keeper.site is not None
    return keeper.site.workspace


def test_command_that_runs_keeps_its_caches_and_one_that_ended_does_not(
    keeper: Callable[[Relation], CommandProcess],
):
    run = keeper(Relation.CHILD)
    folder = workspace_of(run).inductor / "ab"
    files = [put(folder / f"c{hours}.py", hours) for hours in (1, 2)]
    run.save_here()
    assert left(*files) == [True, True]
    run.save_at_end()
    assert left(*files) == [True, False]


def test_other_command_that_still_runs_keeps_the_caches(
    keeper: Callable[[Relation], CommandProcess],
):
    run, other = keeper(Relation.CHILD), keeper(Relation.CHILD)
    files = [put(workspace_of(run).inductor / "ab" / f"c{hours}.py", hours) for hours in (1, 2)]
    run.save_at_end()
    assert left(*files) == [True, True]
    other.save_at_end()
    assert left(*files) == [True, False]


def test_folders_of_a_neighbour_are_never_evicted_from(
    keeper: Callable[[Relation], CommandProcess],
):
    watch = keeper(Relation.NEIGHBOUR)
    folder = workspace_of(watch).inductor / "ab"
    files = [put(folder / f"c{hours}.py", hours) for hours in (1, 2)]
    watch.save_at_end()
    assert left(*files) == [True, True]


def test_models_of_vllm_go_as_a_whole_and_headers_of_everybody_stay(
    keeper: Callable[[Relation], CommandProcess],
):
    run = keeper(Relation.CHILD)
    models = workspace_of(run).vllm / "torch_compile_cache"
    used = put(models / "used" / "rank_0_0" / "graph", 1)
    unused = put(models / "unused" / "rank_0_0" / "graph", 3)
    put(models / "unused" / "rank_0_0" / "other", 2)
    header = put(workspace_of(run).headers / "c1.h", 99)
    run.save_at_end()
    assert left(used, unused.parent.parent, header) == [True, False, True]
    assert list(workspace_of(run).quarantine.iterdir()) == []


def test_vllms_folder_that_the_user_named_is_not_evicted_from(tmp_path: Path):
    named = tmp_path / "vllm"
    root = tmp_path / "root"
    workspace = ForeignWorkspace(root, root / "inductor", tmp_path / "headers", "", named)
    workspace.prepare(root.name)
    file = put(named / "torch_compile_cache" / "model" / "graph", 9)
    assert evict(workspace, Limits(workspace_bytes=1)).files == 0
    assert file.exists()


def test_limit_is_that_of_the_plugin_by_default(tmp_path: Path):
    from pytest_compilecache.session_settings import Settings  # noqa: PLC0415

    limits = read_server_settings(deployment_in(tmp_path)).limits
    assert limits.workspace_bytes == Settings.resolve().limits.workspace_bytes == 10_240 * MIB
