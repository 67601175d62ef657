"""A cached library that does not load is set aside and built anew, once, and that is told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.machine import Machine, write_project

# Healing looks at what is there when the session starts; the damage comes later.
SUITE = """
    import os
    import pathlib
    import pytest
    import shutil
    import torch
    from pytest_compilecache.workspace.whole import is_probe

    def wave(x):
        return (x.exp() + 1).sin()

    @pytest.fixture
    def damaged(compile_cache):
        how = os.environ["DAMAGE"]
        if how:
            found = pathlib.Path(compile_cache.directory).rglob("*.so")
            libraries = [path for path in found if not is_probe(path)]
            assert libraries
            for library in libraries:
                if how == "torn":
                    os.truncate(library, 100)
                else:
                    shutil.copy(how, library)

    @pytest.mark.compiled(fallback="fail")
    def test_wave(damaged, compile_model, compile_stats):
        x = torch.ones(9)
        torch.testing.assert_close(compile_model(wave)(x), wave(x))
        told = [event.kind for event in compile_stats.events if event.kind == "repair"]
        assert bool(told) == bool(os.environ["DAMAGE"])
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Machine]:
    """A machine on which the suite has run."""
    root = tmp_path_factory.mktemp("used")
    folder = write_project(root / "project", test_suite=SUITE)
    machine = Machine(root / "machine")
    machine.variables["TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"] = "0"
    run = machine.pytest(cwd=folder, env={"DAMAGE": ""})
    assert run.code == 0, run.out
    return folder, machine


@pytest.fixture
def undefined(tmp_path: Path) -> str:
    """A whole library that needs what nobody has."""
    source = tmp_path / "needs.c"
    source.write_text("int nobody_has_this(void);\nint needs(void) { return nobody_has_this(); }\n")
    library = tmp_path / "needs.so"
    gxx = shutil.which("gcc") or shutil.which("g++") or "g++"
    subprocess.run([gxx, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


@pytest.mark.parametrize("damage", ["torn", "undefined symbol"])
def test_library_that_does_not_load_is_built_anew_once(
    damage: str, used: tuple[Path, Machine], request: pytest.FixtureRequest
):
    folder, machine = used
    how = "torn" if damage == "torn" else request.getfixturevalue("undefined")
    run = machine.pytest(cwd=folder, env={"DAMAGE": how})
    assert run.code == 0, run.out
    run.line(r"^libraries in the cache:$")
    run.line(r"test_suite.py::test_wave: \S+\.so did not load \(.*\); it is set aside and built an")
    assert run.built
    again = machine.pytest(cwd=folder, env={"DAMAGE": ""})
    assert again.code == 0, again.out
    assert again.built == ()
    again.line(r"^compilecache: warm: 1 compiled test")
