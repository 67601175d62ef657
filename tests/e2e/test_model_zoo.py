"""Warm means warm on real models: a compiler that logs in front, a machine that was wiped."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.machine import Machine

pytestmark = pytest.mark.slow
ZOO = Path(__file__).parents[2] / "examples" / "model_zoo"
# Six architectures, one of them trained and one with lengths that vary. All twelve, which the
# demo shows as well, take minutes more.
SIX = "bert or gpt2 or llama or qwen3 or (vit and not x-vit) or resnet"
CHOSEN = [] if os.environ.get("COMPILECACHE_TESTS") == "soak" else ["-k", SIX]


def test_zoo_restored_on_a_fresh_machine_builds_nothing(machine: Machine, tmp_path: Path):
    pytest.importorskip("transformers")
    pytest.importorskip("x_transformers")
    store = f"--compilecache-store={tmp_path / 'store'}"
    cores = os.cpu_count() or 1
    cold = machine.pytest(store, str(ZOO), *CHOSEN, cwd=ZOO)
    assert cold.code == 0, cold.out
    found = cold.line(r"not warm: (\d+) of (\d+) compiled tests cold, .* (\d+) builds")
    tests = int(found[2])
    assert tests >= 8
    assert int(found[3]) == len(cold.built) >= 4 * tests

    checkout = shutil.copytree(ZOO, tmp_path / "elsewhere" / "zoo")
    for arguments, variables, folder in (
        ([], {}, ZOO),
        (["-n", "2"], {"OMP_NUM_THREADS": str(cores + 1)}, checkout),
    ):
        machine.start_over()
        warm = machine.pytest(store, str(folder), *CHOSEN, *arguments, cwd=folder, env=variables)
        assert warm.code == 0, warm.out
        assert warm.built == (), warm.built
        warm.line(rf"^compilecache: warm: {tests} compiled tests, \d+ hits, 0 builds")
