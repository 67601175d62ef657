"""What waits for a folder, a store or a compiler that hangs gives it up."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.doctor import machine, software
from pytest_compilecache.doctor.machine import Machine, diagnose
from pytest_compilecache.environment import Environment
from pytest_compilecache.server import watch
from pytest_compilecache.server.watch import WatchPlan


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """An event that nothing sets before the test ends."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def examined(tmp_path: Path) -> Machine:
    folders = {"workspace": tmp_path}
    return Machine(Environment({"torch": "2.13.0"}), {}, folders, str(tmp_path / "store"))


def test_doctor_names_the_check_that_hangs_and_goes_on(
    examined: Machine, hanging: threading.Event, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "check_folder", lambda *_: (hanging.wait(), iter(()))[1])
    monkeypatch.setattr(software, "check_compiler", lambda _: iter(()))
    found = {each.subject: each for each in diagnose(examined, seconds=0.2)}
    folder = found[f"workspace {examined.folders['workspace']}"]
    assert (folder.level, folder.finding) == ("error", "no answer within 0 s")
    assert found["torch"].level == "ok"
    assert f"store {examined.store}" in found


def test_doctor_raises_what_a_check_raises(examined: Machine, monkeypatch: pytest.MonkeyPatch):
    def broken(_: object) -> Iterator[Any]:
        raise LookupError("a defect of ours")

    monkeypatch.setattr(software, "check_torch", broken)
    with pytest.raises(LookupError, match="a defect of ours"):
        diagnose(examined)


def test_torch_that_hangs_is_killed_with_the_compilers_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script = tmp_path / "asks"
    script.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path}/pid; wait\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(software, "_TORCH_SECONDS", 0.5)
    (finding,) = software.check_vector_instructions()
    assert "timed out after 0.5 seconds" in finding.finding
    compiler = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    deadline = time.monotonic() + 30
    while compiler.exists() and compiler.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_watch_gives_up_a_look_that_hangs(
    hanging: threading.Event, monkeypatch: pytest.MonkeyPatch
):
    """As of a name server that does not answer, or a folder on a dead mount."""
    monkeypatch.setattr(watch, "_LAST_LOOK_SECONDS", 0.1)
    nothing = CacheResult(OperationStatus.DOES_NOT_EXIST)
    keeper: Any = SimpleNamespace(load_here=lambda: nothing, site=object(), unsaved="")
    outcome = watch.watch(keeper, WatchPlan(lambda _: hanging.wait, ready_seconds=0.1))
    assert (outcome.ready, outcome.save, outcome.cut_short) == (False, None, True)
