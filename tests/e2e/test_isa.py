"""Torch's cache keys lack the vector instructions: code for other ones is a "hit" and wrong."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.e2e.conftest import Cold
from tests.e2e.machine import Machine, write_project

TEST = """
    import torch

    def f(x):
        return torch.relu(x.exp().sum(-1) + x.sin().sum(-1) * 2)

    def test_values():
        torch.manual_seed(0)
        x = torch.randn(1003, 7)
        torch.testing.assert_close(torch.compile(f)(x), f(x))
"""

BARE = """
    import torch

    def f(x):
        return torch.relu(x.exp() + x.sin() * 2)

    torch.manual_seed(0)
    x = torch.randn(1003)
    got, expected = torch.compile(f)(x), f(x)
    from torch._dynamo.utils import counters
    print("hits", counters["inductor"]["fxgraph_cache_hit"])
    print("wrong", int((~torch.isclose(got, expected)).sum()))
"""

AVX512 = "avx512f" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False
needs_avx512 = pytest.mark.skipif(not AVX512, reason="this CPU has no AVX-512 to be confused")


TORCH = version("torch")
SHOWS_NOTHING = "torch is no longer fooled: this test shows nothing"


def wrong_values(out: str) -> tuple[int, int]:
    hits, wrong = re.search(r"hits (\d+)", out), re.search(r"wrong (\d+)", out)
    assert hits is not None, out
    assert wrong is not None, out
    return int(hits[1]), int(wrong[1])


@needs_avx512
def test_other_instructions_miss_where_bare_torch_hits_and_is_wrong(
    machine: Machine, tmp_path: Path
):
    bare = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "bare")}
    machine.python(BARE, cwd=tmp_path, env=bare)
    out = machine.python(BARE, cwd=tmp_path, env={**bare, "ATEN_CPU_CAPABILITY": "avx2"}).out
    hits, wrong = wrong_values(out)
    assert hits > 0, SHOWS_NOTHING
    assert wrong > 0, SHOWS_NOTHING

    project = write_project(tmp_path / "project", test_isa=TEST)
    store = f"--compilecache-store={tmp_path / 'store'}"
    first = machine.pytest(store, cwd=project)
    assert first.code == 0, first.out
    lower = machine.pytest(store, cwd=project, env={"ATEN_CPU_CAPABILITY": "avx2"})
    assert lower.code == 0, lower.out
    lower.line(r"not warm: 1 of 1 compiled test cold")
    lower.line(r"nearest one differs: aten_cpu_capability is avx2 here and unset there")
    again = machine.pytest(store, cwd=project)
    assert again.code == 0, again.out
    again.line(r"^compilecache: warm: 1 compiled test")
    assert len(list((tmp_path / "store" / "v1").iterdir())) == 2


def tear_probes(folder: Path, how_many: int) -> None:
    """Empty probe libraries as a kill while linking leaves them, the decisive ones first."""
    probes = [path for path in folder.rglob("*.so") if path.with_suffix(".cpp").exists()]
    chosen = sorted(probes, key=decides_for_avx512, reverse=True)[:how_many]
    assert chosen
    for probe in chosen:
        probe.write_bytes(b"")


def decides_for_avx512(library: Path) -> bool:
    """Whether a library is a probe of AVX-512 itself, not of one of its extensions."""
    if "__avx_chk_kernel" not in library.with_suffix(".cpp").read_text():
        return False
    command = ["objdump", "-d", str(library)]
    return "%zmm" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_avx512
def test_bare_torch_is_fooled_by_torn_probes(machine: Machine, tmp_path: Path):
    bare = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "bare")}
    machine.python(BARE, cwd=tmp_path, env=bare)
    tear_probes(tmp_path / "bare", 2)
    out = machine.python(BARE, cwd=tmp_path, env=bare).out
    if "CppCompileError" in out:  # torch 2.7 writes code that it then cannot compile
        return
    hits, wrong = wrong_values(out)
    if not wrong and not TORCH.startswith("2.13."):
        pytest.skip(f"torch {TORCH} is not fooled in this way")
    assert hits > 0, SHOWS_NOTHING
    assert wrong > 0, SHOWS_NOTHING


@needs_avx512
@pytest.mark.parametrize("how_many", [1, 2, 99], ids=["one", "two", "all"])
def test_torn_probes_are_healed(how_many: int, cold: Cold, warm_machine: Machine):
    tear_probes(warm_machine.home / ".cache" / "compilecache", how_many)
    healed = warm_machine.pytest(cwd=cold.project)
    assert healed.code == 0, healed.out
    healed.line(r"healed: \d+ files? torn")
    assert "vector instructions:" in healed.out
    after = warm_machine.pytest(cwd=cold.project)
    after.line(r"^compilecache: warm: 3 compiled tests, \d+ hits, 0 builds")


@needs_avx512
def test_instructions_that_a_conftest_lowers_miss(
    cold: Cold, store: Path, machine: Machine, tmp_path: Path
):
    """They are set after the plugin was loaded, and before torch is."""
    project = write_project(
        tmp_path / "project",
        conftest="import os\nos.environ['ATEN_CPU_CAPABILITY'] = 'avx2'\n",
        test_kernels=(cold.project / "test_kernels.py").read_text(),
    )
    run = machine.pytest(f"--compilecache-store={store}", cwd=project)
    assert run.code == 0, run.out
    run.line(r"not warm: 3 of 3 compiled tests cold")
