"""``compilecache watch``: beside a command that nobody changed, and that we do not start."""

from __future__ import annotations

import fcntl
import subprocess
import time
from pathlib import Path

import pytest
from filelock import FileLock

from tests.e2e.servers import COMPILE, Ended, Gate, Replica, packs_in, wait_for
from tests.e2e.test_run import gate, next_replica, replica, store

__all__ = ["gate", "next_replica", "replica", "store"]

# Where torch and vLLM work when nobody tells them anything.
DEFAULTS = """
export TORCHINDUCTOR_CACHE_DIR=$TMPDIR/torchinductor_$(id -un) VLLM_CACHE_ROOT=$HOME/.cache/vllm
"""


@pytest.fixture(autouse=True)
def no_other_name(replica: Replica, next_replica: Replica) -> None:
    """Torch takes the user's name from these variables first."""
    for each in (replica, next_replica):
        each.machine.variables.update(LOGNAME="", USER="", LNAME="", USERNAME="")
        each.machine.variables["LOCAL_WORK_DIR"] = str(each.machine.home)


def serve(replica: Replica, script: str) -> subprocess.CompletedProcess[str]:
    """Run the command that is watched, to its end."""
    return subprocess.run(
        ["sh", "-c", COMPILE + DEFAULTS + script],
        env=replica.machine.environ(),
        capture_output=True,
        text=True,
        check=False,
    )


def watch(replica: Replica, *options: str) -> Ended:
    """Watch, to its end."""
    return replica.start("watch", "--json", *options).end()


def test_first_replica_saves_when_it_is_ready_and_the_next_loads_at_once(
    replica: Replica, next_replica: Replica, gate: Gate, tmp_path: Path
):
    ready = tmp_path / "ready"
    watching = replica.start("watch", "--json", "--ready-url", gate.url(ready))
    wait_for(gate.asked.is_set, "its first question")
    serve(
        replica,
        f"""
        compile kernel; touch {ready}
        mkdir -p $VLLM_CACHE_ROOT/torch_compile_cache
        echo model > $VLLM_CACHE_ROOT/torch_compile_cache/model
    """,
    )
    first = watching.end()
    assert first.code == 0, first.err
    assert (first.facts["ready"], first.facts["save"]["status"]) == (True, "success")

    second = watch(next_replica, "--ready-url", gate.url("/never"))
    assert second.code == 0, second.err
    assert (second.facts["load"]["status"], second.facts["save"]) == ("success", None)
    found = serve(next_replica, "has kernel && cat $VLLM_CACHE_ROOT/torch_compile_cache/model")
    assert (found.returncode, found.stdout) == (0, "model\n")


def test_saves_when_the_caches_are_quiet(replica: Replica):
    watching = replica.start("watch", "--json", "--quiet-seconds", "0.3", "--timeout", "100")
    stamp = "torchinductor_*/compilecache-environment"
    wait_for(lambda: replica.files(stamp), "its claim of the folder")
    number = 0
    while watching.process.poll() is None:
        # One that comes before the first look is no change, so there are several.
        number += 1
        serve(replica, f"compile kernel{number}")
        time.sleep(1)
    ended = watching.end()
    assert ended.code == 0, ended.err
    assert (ended.facts["ready"], ended.facts["save"]["status"]) == (True, "success")


def test_load_that_hangs_is_given_up(replica: Replica, gate: Gate):
    watch(replica, "--ready-url", gate.url("/never"), "--timeout", "0")  # which claims the folder
    (state,) = replica.machine.home.glob("compilecache-*/v1/*/state")
    with FileLock(state / "restore.lock"):
        ended = watch(replica, "--ready-url", gate.url("/never"), "--load-timeout", "0.3")
    assert (ended.code, ended.facts["load"]["status"]) == (1, "error")
    assert "the load: it has not ended after 0.3 s, and is cut short" in ended.err


def test_save_that_hangs_is_given_up(replica: Replica, gate: Gate, store: Path, tmp_path: Path):
    ready, turns = tmp_path / "ready", store / "tmp" / "turns"
    replica.machine.variables["MAX_CONCURRENT_SAVES"] = "1"
    watching = replica.start(
        "watch", "--json", "--ready-url", gate.url(ready), "--save-timeout", "0.3"
    )
    wait_for(gate.asked.is_set, "its first question")
    turns.mkdir(parents=True)
    with (turns / "save-0.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        serve(replica, f"compile kernel; touch {ready}")
        ended = watching.end()
    assert (ended.code, ended.facts["save"]["status"]) == (1, "error")
    assert "the save: it has not ended after 0.3 s, and is cut short" in ended.err
    assert packs_in(store) == []


def test_what_filled_the_folder_before_is_neither_overwritten_nor_saved(
    replica: Replica, gate: Gate, store: Path
):
    serve(replica, "compile stranger; mkdir -p $VLLM_CACHE_ROOT/torch_compile_cache/x")
    ended = watch(replica, "--ready-url", gate.url("/good"))
    assert packs_in(store) == []
    assert ended.err.count("neither loaded nor saved") == 2
    assert "empty it once, so that it is known what made its files" in ended.err
    assert serve(replica, "has stranger").returncode == 0


def test_folder_of_another_user_is_left_alone(replica: Replica, gate: Gate, tmp_path: Path):
    others = tmp_path / "others"
    others.mkdir(mode=0o777)
    others.chmod(0o777)
    replica.machine.variables["TORCHINDUCTOR_CACHE_DIR"] = str(others)
    refused = watch(replica, "--ready-url", gate.url("/good"))
    assert str(others) in refused.err
    assert list(others.iterdir()) == []


def test_never_ready_ends_with_1_and_saves_nothing(replica: Replica, gate: Gate, store: Path):
    ended = watch(replica, "--ready-url", gate.url("/never"), "--timeout", "0.3")
    assert ended.code == 1
    assert "not ready after 0.3 s; nothing is saved" in ended.err
    assert packs_in(store) == []


def test_where_it_may_not_save_it_does_not_wait(replica: Replica, gate: Gate):
    ended = watch(replica, "--ready-url", gate.url("/never"), "--save", "never")
    assert ended.code == 0, ended.err
    assert not gate.asked.is_set()


def test_store_that_cannot_be_read_or_written_ends_with_1(
    replica: Replica, gate: Gate, store: Path
):
    store.write_text("not a folder")
    ended = watch(replica, "--ready-url", gate.url("/good"))
    assert ended.code == 1
    assert ended.facts["save"]["status"] == "error"
