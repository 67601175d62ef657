"""The reference has all that there is.

What must be there is asked of the code by other ways than the script that writes the pages,
so that a page from which that script drops something is red as well.
"""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

import pytest_compilecache
from pytest_compilecache import strategies
from pytest_compilecache.cli.application import EXIT_CODES, application
from pytest_compilecache.compiling.contracts import Contracts
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.doctor import machine, software
from pytest_compilecache.doctor.findings import Finding
from pytest_compilecache.server_settings import Places, read_server_settings
from pytest_compilecache.session_settings import variables_layer
from tests.unit.test_docs import DOCS, ROOT, python

PACKAGE = ROOT / "pytest_compilecache"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMANDS = re.findall(r"^## ([a-z]+)$", (DOCS / "commands.md").read_text(), re.MULTILINE)


class Asked(dict[str, str]):
    """Variables of which none is set; it keeps the names that it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.names.add(name)
        return default


def test_every_option_of_pytest_is_in_the_reference(tmp_path: Path):
    done = python("-m", "pytest", "--help", "-p", "pytest_compilecache.plugin", cwd=tmp_path)
    shown = {name for name in OPTION.findall(done.stdout) if name.startswith("--compilecache-")}
    ini = set(re.findall(r"^  (compile\w+) \(", done.stdout, re.MULTILINE))
    assert len(shown) >= 8
    assert len(ini) >= 12
    page = (DOCS / "settings.md").read_text()
    for name in shown:
        assert re.search(rf"`{name}[ `]", page), name
    for name in ini:
        assert f"`{name}`" in page


def test_every_variable_that_is_read_is_in_the_reference(tmp_path: Path):
    asked = Asked()
    variables_layer(asked, tmp_path)
    read_server_settings(asked, Places(app=tmp_path, mount=tmp_path, temporary=tmp_path))
    assert {"COMPILECACHE_SAVE", "B10FS_CACHE_DIR", "MAX_CACHE_SIZE_CAP_MB"} < asked.names
    page = (DOCS / "settings.md").read_text()
    for name in asked.names:
        assert re.search(rf"`{name}`|^### {name}$", page, re.MULTILINE), name


def test_every_command_is_in_the_reference():
    listed = python("-m", "pytest_compilecache", "--help").stdout.partition("Commands:\n")[2]
    assert re.findall(r"^  (\w+) ", listed, re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_in_the_reference(command: str):
    asked = CliRunner().invoke(application, [command, "--help"], prog_name="compilecache")
    page = (DOCS / "commands.md").read_text()
    section = page.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    for name in re.findall(r"^  (?:-\w, )?(--[a-z-]+)", asked.output, re.MULTILINE):
        assert name == "--help" or re.search(rf"^\| `{name}[ `]", section, re.MULTILINE), name
    (usage,) = re.findall(r"^Usage: (.*)$", asked.output, re.MULTILINE)
    assert usage in section


def test_every_exit_code_is_in_the_reference():
    source = ast.parse((PACKAGE / "cli" / "application.py").read_text())
    codes = {
        node.value.value
        for node in source.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, int)
    }
    assert codes | {0} == EXIT_CODES.keys()
    page = (DOCS / "commands.md").read_text()
    for code, meaning in EXIT_CODES.items():
        assert f"| `{code}` | {meaning} |" in page


def test_every_finding_of_doctor_is_in_the_reference():
    page = (DOCS / "troubleshooting.md").read_text()
    for module in (software, machine):
        names = {name: each for name, each in vars(module).items() if isinstance(each, Finding)}
        assert len(names) == len(module.FINDINGS)
        source = (PACKAGE / "doctor" / f"{module.__name__.rpartition('.')[2]}.py").read_text()
        for name, each in names.items():
            assert source.count(name) > 1, f"{name} cannot be found"
            assert f"\n### {each.title}\n" in page
            assert f"\n{each.means}\n" in page
            first_words = each.text.partition("{")[0]
            assert first_words in page


def test_every_argument_of_the_mark_is_on_its_pages():
    pages = "".join((DOCS / name).read_text() for name in ("marks.md", "compile_options.md"))
    arguments = {
        each.name
        for each in (*fields(CompileOptions), *fields(Contracts))
        if each.name != "never_eager"  # it follows from fallback="fail"
    }
    assert len(arguments) >= 15
    for name in (*arguments, "fallback"):
        assert re.search(rf"`{name}[`=]", pages), name


def test_every_exported_name_and_fixture_is_in_the_reference(tmp_path: Path):
    page = (DOCS / "python.md").read_text()
    for name in (*pytest_compilecache.__all__, *strategies.__all__):
        assert f"\n### {name}\n" in page
    done = python("-m", "pytest", "--fixtures", "-p", "pytest_compilecache.plugin", cwd=tmp_path)
    fixtures = re.findall(r"^(\w+)\b.* -- .*pytest_compilecache/plugin/", done.stdout, re.MULTILINE)
    assert "compiled_model" in fixtures
    for name in fixtures:
        assert f"\n### {name} fixture\n" in page
