"""A suite that never compiles must not notice us."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.machine import Machine

TRIVIAL = """
    import sys

    import pytest

    @pytest.mark.parametrize("number", range(50))
    def test_trivial(number):
        assert "torch" not in sys.modules
"""

IMPORTS_TORCH = """
    import torch

    def test_eager():
        assert torch.ones(2).sum() == 2
"""


def without_times(out: str) -> list[str]:
    return [line.split(" in ")[0] for line in out.splitlines() if not line.startswith("plugins:")]


def test_trivial_suite_prints_what_it_prints_without_us(
    machine: Machine, project: Callable[..., Path]
):
    folder = project(test_trivial=TRIVIAL)
    ours = machine.pytest(cwd=folder)
    without = machine.pytest("-p", "no:compilecache", cwd=folder)
    assert ours.code == without.code == 0
    assert without_times(ours.out) == without_times(without.out)
    assert not (machine.home / ".cache" / "compilecache").exists()


def test_suite_that_imports_torch_but_compiles_nothing_has_no_summary(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest(cwd=project(test_eager=IMPORTS_TORCH))
    assert run.code == 0, run.out
    assert "compile cache" not in run.out
    assert "warm" not in run.out


def test_import_of_package_and_plugin_imports_neither_torch_nor_anything_heavy(
    machine: Machine, tmp_path: Path
):
    run = machine.python(
        """
        import sys
        import pytest
        before = set(sys.modules)
        import pytest_compilecache
        import pytest_compilecache.plugin
        heavy = {"torch", "numpy", "zstandard", "filelock", "platformdirs", "triton", "asyncio"}
        print(sorted(heavy & (set(sys.modules) - before)))
        """,
        cwd=tmp_path,
    )
    assert run.out.strip() == "[]"


def test_every_fixture_and_option_is_listed(machine: Machine, tmp_path: Path):
    out = machine.run(sys.executable, "-m", "pytest", "--fixtures", "-q", cwd=tmp_path).out
    for name in (
        "compile_cache",
        "compile_model",
        "compile_stats",
        "compiled_model",
        "fresh_compile_cache",
    ):
        assert f"{name} --" in out or f"\n{name}\n" in out, out
