from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Cold
from tests.e2e.machine import Machine


def test_cold_session_says_so_and_counts_what_the_compiler_built(cold: Cold):
    found = cold.run.line(r"not warm: 3 of 3 compiled tests cold, (\d+) misses, .* (\d+) builds")
    assert int(found[2]) == len(cold.run.built) > 4
    assert "slowest cold tests:" in cold.run.out
    cold.run.line(r"saved \d+ files, [\d.]+ MB, to .*store")


def test_another_machine_starts_warm_from_the_store(cold: Cold, store: Path, machine: Machine):
    run = machine.pytest(f"--compilecache-store={store}", cwd=cold.project)
    assert run.code == 0, run.out
    assert run.built == ()
    run.line(r"^compilecache: warm: 3 compiled tests, \d+ hits, 0 builds, .*restored \d+ files")


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [(["-n", "2"], {}), ([], {"OMP_NUM_THREADS": "1"}), (["-n", "2"], {"OMP_NUM_THREADS": "1"})],
    ids=["two workers", "one thread", "two workers of one thread"],
)
def test_workers_and_threads_do_not_spoil_the_hits(
    arguments: list[str],
    variables: dict[str, str],
    cold: Cold,
    store: Path,
    machine: Machine,
):
    run = machine.pytest(
        f"--compilecache-store={store}", *arguments, cwd=cold.project, env=variables
    )
    assert run.code == 0, run.out
    assert run.built == ()
    run.line(r"^compilecache: warm: 3 compiled tests, \d+ hits, 0 builds")


def test_another_checkout_folder_starts_warm(
    cold: Cold, store: Path, machine: Machine, tmp_path: Path
):
    checkout = shutil.copytree(cold.project, tmp_path / "elsewhere" / "checkout")
    run = machine.pytest(f"--compilecache-store={store}", cwd=checkout)
    assert run.code == 0, run.out
    assert run.built == ()
    run.line(r"^compilecache: warm: ")


def test_second_session_on_one_machine_needs_no_store(cold: Cold, warm_machine: Machine):
    second = warm_machine.pytest(cwd=cold.project)
    assert second.code == 0, second.out
    assert second.built == ()
    second.line(r"^compilecache: warm: 3 compiled tests")


def test_two_shards_cold_make_a_third_machine_warm_for_both(
    cold: Cold, machine: Machine, tmp_path: Path
):
    store = f"--compilecache-store={tmp_path / 'union'}"
    for shard in ("plain", "model or gradients"):
        run = machine.pytest(store, "-k", shard, cwd=cold.project)
        assert run.code == 0, run.out
        machine.start_over()
    both = machine.pytest(store, cwd=cold.project)
    assert both.code == 0, both.out
    assert both.built == ()
    both.line(r"^compilecache: warm: 3 compiled tests")
