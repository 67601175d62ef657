"""Twenty replicas start at once against one store, and five are killed at random."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus, restore, save
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import Limits
from pytest_compilecache.store import open_store
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.check import check
from pytest_compilecache.store.prune import prune
from pytest_compilecache.workspace.foreign import ForeignWorkspace
from tests.e2e.servers import Gate, Replica, Started, alive, wait_for

REPLICAS = 20
KILLED = 5
COMMON = ("common1", "common2", "common3")


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate().answering() as gate:
        yield gate


def server(number: int, folder: Path) -> str:
    """Compiles what all do and something of its own, is ready, and serves."""
    own = folder / f"replica{number}"
    return f"""
        trap 'compile late{number}; exit 0' TERM
        echo $$ > {own}.pid
        for name in {" ".join(COMMON)} own{number}; do compile $name; done
        touch {own}.ready
        while :; do sleep 0.2; done
    """


def test_nothing_is_lost_or_doubled_and_the_next_one_starts_warm(gate: Gate, tmp_path: Path):
    dice = random.Random(20)
    store = tmp_path / "store"
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(Replica(tmp_path / f"machine{number}", store))
            for number in range(REPLICAS + 1)
        ]
        started: list[Started] = [
            replica.start_server(
                server(number, tmp_path),
                *("--ready-url", gate.url(tmp_path / f"replica{number}.ready")),
            )
            for number, replica in enumerate(replicas[:-1])
        ]
        victims = dice.sample(range(REPLICAS), KILLED)
        for victim in victims:
            time.sleep(dice.random())
            started[victim].send(signal.SIGKILL)
        survivors = [number for number in range(REPLICAS) if number not in victims]
        for number in survivors:
            wait_for((tmp_path / f"replica{number}.ready").exists, f"replica {number}")
            started[number].send(signal.SIGTERM)
        for number in survivors:
            ended = started[number].end()
            assert ended.code == 0, ended.err
            assert ended.statuses["exit"] in {"success", "skipped"}, ended.err
            assert "Traceback" not in ended.err
        pids = [int(file.read_text()) for file in tmp_path.glob("replica*.pid")]
        wait_for(lambda: not alive(pids), "the end of those that were killed")

        saved = [*COMMON, *(f"{kind}{each}" for each in survivors for kind in ("own", "late"))]
        every = " && ".join(f"has {name}" for name in saved)
        last = replicas[-1].run(f"{every} && compile last")
        assert last.code == 0, last.err
        assert last.statuses == {"load": "success", "exit": "success"}
    assert check(open_store(str(store))).ok
    holders = compacted(store, tmp_path / "compactor")
    assert {count for path, count in holders.items() if "fresh" not in path} == {1}
    assert {f"unguarded/ab/c{name}.py" for name in (*saved, "last")} <= set(holders)


def compacted(store: Path, root: Path) -> Counter[str]:
    """How many packs hold each path, once savers have merged what there is to merge."""
    (described,) = store.glob("v1/*/environment.json")
    environment = Environment.from_json(described.read_text())
    workspace = ForeignWorkspace(root, root / "inductor", root / "headers", vllm=root / "vllm")
    limits = Limits(fan=2, grace_seconds=0.0)
    assert restore(workspace, environment, str(store), limits).status is OperationStatus.SUCCESS
    for number in range(3):
        (workspace.inductor / "ab" / f"cfresh{number}.py").write_text(f"x = {number}\n")
        saved = save(workspace, environment, str(store), limits)
        assert saved.status is OperationStatus.SUCCESS
        prune(open_store(str(store)), limits)
    catalog = Catalog(open_store(str(store)), environment.id)
    found: Counter[str] = Counter()
    for ref in catalog.packs():
        with catalog.open_pack(ref) as reader:
            found.update(file.path for file in reader.index.files)
    return found
