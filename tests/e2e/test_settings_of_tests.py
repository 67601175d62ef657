"""``info`` tells of a project's settings what pytest and the plugin take from it."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.cli.project import settings_of_tests
from pytest_compilecache.errors import SettingsError
from tests.e2e.machine import Machine

# One process for all kinds of file: a session that collects nothing takes longest to start.
SESSIONS = """
import json, os, pytest, sys
from pytest_compilecache.plugin.options import resolve_settings

class Asking:
    def pytest_configure(self, config):
        settings = resolve_settings(config)
        values = {name: str(getattr(settings, name)) for name in settings.origins}
        print("\\nSETTINGS", json.dumps(values))

for folder in sys.argv[1:]:
    os.chdir(folder)
    pytest.main(["-s", "--collect-only", "-p", "no:cacheprovider"], [Asking()])
"""
INI = "compilecache_store = shop\ncompilecache_strict = true\ncompilecache_fallback = fail\n"
OPTIONS = "addopts = --compilecache-save never --compilecache-store=typed -q\n"
TOML = """
compilecache_store = "shop"
compilecache_strict = true
compilecache_keep_days = "7"
addopts = ["--compilecache-run=eager"]
"""
FORMS = {
    "pytest.ini": f"[pytest]\n{INI}",
    ".pytest.ini": f"[pytest]\n{INI}{OPTIONS}",
    "tox.ini": f"[tox]\nenvlist = a\n[pytest]\n{OPTIONS}",
    "setup.cfg": f"[metadata]\nname = a\n[tool:pytest]\n{INI}",
    "pyproject.toml": f"[tool.pytest.ini_options]\n{TOML}",
}


def ours(folder: Path, environ: dict[str, str] | None = None) -> dict[str, str]:
    settings = settings_of_tests(environ or {}, folder)
    return {name: str(getattr(settings, name)) for name in settings.origins}


def pytests(folders: list[Path], machine: Machine) -> list[Any]:
    run = machine.run(sys.executable, "-c", SESSIONS, *map(str, folders), cwd=folders[0])
    lines = (line for line in run.out.splitlines() if line.startswith("SETTINGS "))
    return [json.loads(line.partition(" ")[2]) for line in lines]


def test_every_kind_of_file_says_what_it_says_to_pytest(machine: Machine, tmp_path: Path):
    folders = []
    for number, (name, text) in enumerate(FORMS.items()):
        folders.append(tmp_path / str(number) / "package")
        folders[-1].mkdir(parents=True)
        (folders[-1].parent / name).write_text(text)
    found = [ours(folder) for folder in folders]
    assert found == pytests(folders, machine)
    assert all(len(values) > 1 for values in found)


def test_nearest_file_counts_and_one_without_pytests_section_does_not(tmp_path: Path):
    below = tmp_path / "package"
    below.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\ncompilecache_save = never\n")
    (below / "tox.ini").write_text("[tox]\nenvlist = a\n")
    (below / "pyproject.toml").write_text("[project]\nname = 'a'\n")
    assert ours(below) == {"save": "never"}
    (below / "setup.cfg").write_text("[tool:pytest]\ncompilecache_save = always\n")
    assert ours(below) == {"save": "always"}


def test_each_value_says_where_it_comes_from(tmp_path: Path):
    text = f"""
        [pytest]
        compilecache_keep_days = 7
        compilecache_save = always
        compilecache_max_workspace_mb = 5
        {OPTIONS}"""
    (tmp_path / "pytest.ini").write_text(textwrap.dedent(text))
    environ = {
        "COMPILECACHE_SAVE": "auto",
        "COMPILECACHE_MAX_WORKSPACE_MB": "6",
        "PYTEST_ADDOPTS": "--compilecache-strict",
    }
    assert settings_of_tests(environ, tmp_path).origins == {
        "keep_days": "pytest.ini",
        "max_workspace_mb": "COMPILECACHE_MAX_WORKSPACE_MB",
        "save": "addopts in pytest.ini",
        "store": "addopts in pytest.ini",
        "strict": "PYTEST_ADDOPTS",
    }


def test_file_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "pytest.ini").write_text("compilecache_save = never\n")
    with pytest.raises(SettingsError, match=r"it cannot be read: .*pytest\.ini"):
        settings_of_tests({}, tmp_path)
