"""Options of compiling: checked when they are made, wherever they come from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pytest_compilecache
from pytest_compilecache import CompileOptions
from pytest_compilecache.errors import CompileOptionError


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("mode", 3, "3 has a wrong type"),
        ("fullgraph", "yes", "'yes' has a wrong type"),
        ("dynamic", 1, "1 has a wrong type"),
        ("backend", 3, "3 is neither a name nor callable"),
        ("options", ["max_autotune"], "has a wrong type"),
        ("regional", None, "None has a wrong type"),
        ("channels_last", 1, "1 has a wrong type"),
        ("sdpa", "maths", "'maths' is no attention kernel"),
        ("sdpa", (), "names no attention kernel"),
        ("sdpa", ("math", 3), "3 is no attention kernel"),
        ("ipex", "auto", "'auto' has a wrong type"),
        ("enabled", 0, "0 has a wrong type"),
    ],
)
def test_unusable_value_is_told_with_its_name_and_a_remedy(name: str, value: object, told: str):
    with pytest.raises(CompileOptionError) as caught:
        CompileOptions(**{name: value})
    assert caught.value.subject == name
    assert told in caught.value.reason
    assert caught.value.remedy


def test_misspelt_attention_kernel_is_answered_with_those_that_there_are():
    with pytest.raises(ValueError, match="cudnn, efficient, flash, math"):
        CompileOptions(sdpa="maths")


def test_equal_choices_of_attention_kernels_are_equal_however_they_are_written():
    assert CompileOptions(sdpa=("math", "flash")) == CompileOptions(sdpa=("flash", "math", "math"))
    assert CompileOptions(sdpa="math") == CompileOptions(sdpa=("math",))
    assert CompileOptions(sdpa="math") != CompileOptions(sdpa="flash")


def test_package_offers_options_without_loading_torch():
    assert "CompileOptions" in pytest_compilecache.__all__
    script = (
        "import sys, pytest_compilecache; pytest_compilecache.CompileOptions(sdpa='math');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def pyproject(folder: Path, text: str) -> Path:
    file = folder / "pyproject.toml"
    file.write_text(text)
    return file


def test_table_in_pyproject_becomes_options(tmp_path: Path):
    text = '[tool.compilecache.compile]\nmode = "max-autotune"\nsdpa = ["math", "flash"]\n'
    file = pyproject(tmp_path, text + "dynamic = false\nregional = true\n")
    expected = CompileOptions(
        mode="max-autotune", sdpa=("flash", "math"), dynamic=False, regional=True
    )
    assert CompileOptions.from_pyproject(file) == expected
    assert CompileOptions.from_pyproject(str(tmp_path)) == expected


def test_inductors_options_are_a_table_of_their_own(tmp_path: Path):
    pyproject(tmp_path, "[tool.compilecache.compile.options]\nepilogue_fusion = false\n")
    options = CompileOptions.from_pyproject(tmp_path)
    assert options.options == {"epilogue_fusion": False}


def test_nearest_pyproject_above_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pyproject(tmp_path, "[tool.compilecache.compile]\nfullgraph = true\n")
    below = tmp_path / "tests" / "unit"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert CompileOptions.from_pyproject() == CompileOptions(fullgraph=True)


def test_pyproject_that_says_nothing_leaves_the_defaults(tmp_path: Path):
    file = pyproject(tmp_path, "[tool.other]\nx = 1\n")
    assert CompileOptions.from_pyproject(file) == CompileOptions()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tool.compilecache.compile]\nmod = 'x'\n", "there is no such option"),
        ("[tool.compilecache.compile]\nfullgraph = 1\n", "1 has a wrong type"),
        ("[tool.compilecache.compil]\nfullgraph = true\n", "no table or setting 'compil'"),
        ("[tool]\ncompilecache = 3\n", "3 is no table"),
        ("[tool.compilecache]\ncompile = 'x'\n", "'x' is no table"),
        ("[tool.compilecache", "at end of document"),
    ],
)
def test_fault_in_pyproject_is_told_with_the_file(tmp_path: Path, text: str, told: str):
    file = pyproject(tmp_path, text)
    with pytest.raises(CompileOptionError) as caught:
        CompileOptions.from_pyproject(file)
    assert caught.value.subject.startswith(str(file))
    assert told in caught.value.reason
    assert caught.value.remedy


def test_absent_pyproject_is_told(tmp_path: Path):
    with pytest.raises(CompileOptionError, match="No such file"):
        CompileOptions.from_pyproject(tmp_path / "pyproject.toml")
