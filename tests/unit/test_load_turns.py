"""Processes of one server load at the same time: one restores, and holds up nobody for long."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_compilecache import api
from pytest_compilecache.cache import CacheResult, OperationStatus
from tests.unit.server import Server, deployment_in


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "compiled_before", lambda: False)
    server = Server({**deployment_in(tmp_path), "CLEANUP_LOCK_TIMEOUT_SECONDS": "1"})
    yield server
    server.process.end()


def test_a_process_that_was_stopped_while_it_restored_holds_up_nobody(
    server: Server, tmp_path: Path
):
    server.load()
    server.compile()
    server.save()
    server.compile().unlink()
    (state,) = (tmp_path / "work").rglob("state")
    results: list[CacheResult] = []
    loading = threading.Thread(target=lambda: results.append(server.load()), daemon=True)
    with FileLock(state / "restore.lock"):
        loading.start()
        loading.join(30)
        assert [result.status for result in results] == [OperationStatus.SUCCESS]
