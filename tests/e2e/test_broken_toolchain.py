"""A compiler that is missing, broken, slow or out of room is one trouble, said once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.machine import Machine, write_project

SUITE = """
    import pytest
    import torch

    def f(x, number):
        return (x.exp() + number).sin()

    @pytest.mark.parametrize("number", [1, 2])
    def test_fixture(number, compile_model, compile_stats):
        x = torch.ones(5, requires_grad=True)
        y = compile_model(f)(x, number)
        y.sum().backward()
        torch.testing.assert_close(y, f(x, number))
        assert x.grad is not None
        assert compile_stats.fallbacks

    @pytest.mark.compiled
    @pytest.mark.parametrize("number", [3, 4])
    def test_plain(number, compile_stats):
        x = torch.ones(5)
        torch.testing.assert_close(torch.compile(f)(x, number), f(x, number))
        assert compile_stats.fallbacks

    @pytest.mark.compiled(fallback="fail")
    def test_demanding(compile_model):
        for _ in range(2):
            with pytest.raises(Exception):
                compile_model(f)(torch.ones(5), 5)
"""

# Torch warns of itself while it is imported.
INI = """
[pytest]
compilecache_compiler_seconds = 2
filterwarnings =
    ignore
    default::pytest_compilecache.errors.CompileFallbackWarning
"""
WARNING = "everything that must be compiled runs eager:"
REMEDY = "install a C++ compiler (g++), or name one that works in CXX"


@pytest.fixture
def suite(project: Callable[..., Path]) -> Path:
    return with_ini(project(test_suite=SUITE))


def with_ini(folder: Path) -> Path:
    (folder / "pytest.ini").write_text(INI)
    return folder


def compiler(folder: Path, body: str) -> str:
    """A compiler that does as the script says."""
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_missing_compiler_is_said_once_in_a_session(
    workers: tuple[str, ...], machine: Machine, suite: Path
):
    run = machine.pytest(*workers, cwd=suite, env={"CXX": "/nowhere/g++"})
    assert run.code == 0, run.out
    assert "5 passed, 1 warning" in run.out
    reason = f"the C++ compiler '/nowhere/g++' does not exist; {REMEDY}"
    run.line(re.escape(f"CompileFallbackWarning: {WARNING} {reason}"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo no licence >&2; exit 1", "exits with 1 (no licence) on an empty program"),
        ("exec sleep 600", "does not answer in 2 s"),
    ],
    ids=["exits 1", "hangs"],
)
def test_broken_compiler_is_said_once_with_its_remedy(
    body: str, reason: str, machine: Machine, suite: Path, tmp_path: Path
):
    name = compiler(tmp_path, body)
    run = machine.pytest(cwd=suite, env={"CXX": name})
    assert run.code == 0, run.out
    assert "5 passed, 1 warning" in run.out
    assert f"{WARNING} the C++ compiler '{name}' {reason}; {REMEDY}" in run.out


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=16k", "none", str(folder)]
    if mount is None or os.getuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("only root mounts")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_temporary_folder_is_named(machine: Machine, suite: Path, small_folder: Path):
    run = machine.pytest(cwd=suite, env={"TMPDIR": str(small_folder)})
    assert run.code == 0, run.out
    assert "5 passed, 1 warning" in run.out
    assert WARNING in run.out
    assert "nothing can be compiled, for no space is left on the device; free some" in run.out


NO_LOWERING = """
    import pytest
    import torch

    @torch.library.custom_op("suite::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    @twice.register_fake
    def _(x):
        return torch.empty_like(x)

    @pytest.mark.compiled(options={"implicit_fallbacks": False})
    def test_op_without_lowering(compile_model, compile_stats):
        x = torch.ones(3)
        torch.testing.assert_close(compile_model(lambda x: twice(x).sin())(x), (x * 2).sin())
        (event,) = [one for one in compile_stats.events if one.kind == "fallback"]
        assert "suite.twice" in event.reason
        assert "test_nothing_for_it.py" in event.function
"""


def test_op_without_a_lowering_is_the_graphs_trouble(machine: Machine, tmp_path: Path):
    folder = with_ini(write_project(tmp_path / "project", test_nothing_for_it=NO_LOWERING))
    run = machine.pytest(cwd=folder)
    assert run.code == 0, run.out
    assert "1 passed, 1 warning" in run.out
    run.line(r"CompileFallbackWarning: did not compile and ran eager: <lambda> \(.*\): Missing")
