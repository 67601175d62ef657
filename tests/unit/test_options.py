"""What the plugin registers with pytest, and what it leaves to others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_compilecache.report.files import _FORMS
from pytest_compilecache.settings import REPORT_SUFFIXES, SESSION_SETTINGS


def test_options_have_the_values_that_their_settings_have():
    for each in SESSION_SETTINGS:
        if each.metavar.startswith("{"):
            choices = each.metavar.strip("{}").replace(",", ", ")
            assert each.kind.values == f"one of {choices}"
    assert set(REPORT_SUFFIXES) == set(_FORMS)


def test_loading_the_plugin_loads_nothing_that_a_suite_without_torch_does_not_need():
    code = (
        "import pytest, sys; before = set(sys.modules); import pytest_compilecache.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    package = "pytest_compilecache"
    light = ("plugin", "plugin.options", "plugin.session", "plugin.fixtures")
    others = ("guard", "import_hook", "patches", "settings")
    expected = {package, *(f"{package}.{name}" for name in (*light, *others))}
    assert set(done.stdout.split()) == expected


CLASH = """
def pytest_addoption(parser):
    parser.addoption("--compilecache-save", action="store_true", dest="theirs")
    parser.addini("compilecache_run", "theirs", default="their default")
"""
THEIRS = """
def test_theirs(request):
    config = request.config
    assert config.getoption("theirs")
    assert config.getini("compilecache_run") == "on Mondays"
"""


@pytest.mark.parametrize("strict", [False, True], ids=["warning", "warnings are errors"])
def test_name_that_another_plugin_has_registered_is_left_to_it(strict: bool, tmp_path: Path):
    (tmp_path / "theirs.py").write_text(CLASH)
    (tmp_path / "test_theirs.py").write_text(THEIRS)
    (tmp_path / "pytest.ini").write_text("[pytest]\ncompilecache_run = on Mondays\n")
    words = ["-p", "theirs", "--compilecache-save", *(["-W", "error"] if strict else [])]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    out = done.stdout + done.stderr
    assert "Traceback" not in out
    names = "--compilecache-save, compilecache_run: another plugin or conftest registered"
    assert out.count(names) == 1, out
    assert done.returncode == (4 if strict else 0), out
