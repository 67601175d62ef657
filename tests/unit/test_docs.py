"""The pages: as the code says, complete, and without a link that leads nowhere.

What must be there is asked of the code by other ways than the script that writes the pages,
so that a page from which that script drops something is red as well.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import pytest_compilecache
from pytest_compilecache import findings, strategies
from pytest_compilecache.cli.application import EXIT_CODES
from pytest_compilecache.compiling.contracts import Contracts
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.deployment import Places, read_deployment
from pytest_compilecache.settings import environment_layer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "pytest_compilecache"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMANDS = re.findall(r"^## ([a-z]+)$", (DOCS / "commands.md").read_text(), re.MULTILINE)


def python(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )


class Asked(dict[str, str]):
    """Variables of which none is set; it keeps the names that it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.names.add(name)
        return default


# Pages are right.


def test_pages_are_as_the_code_says_and_links_lead_somewhere():
    checked = python("docs/reference", "--check")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all that is checked."""
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("README.md", "zensical.toml", "action.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def replaces(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return change


def adds(name: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        with (root / name).open("a") as file:
            file.write(text)

    return change


def removes(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


BLOB = "https://github.com/pytest-compilecache/pytest-compilecache/blob/main"
FAULTS = {
    "a setting is missing": (
        replaces("docs/settings.md", "- variable: `COMPILECACHE_STORE`\n", ""),
        "docs/settings.md: it differs from the code",
    ),
    "a default is another one": (
        replaces("docs/settings.md", "- default: `10240`", "- default: `10241`"),
        "docs/settings.md: it differs from the code",
    ),
    "an option is missing": (
        replaces("docs/commands.md", "| `--github-output` |", "| `--gitlab-output` |"),
        "docs/commands.md: it differs from the code",
    ),
    "a finding is missing": (
        replaces("docs/troubleshooting.md", "### A noexec mount\n", ""),
        "docs/troubleshooting.md: it differs from the code",
    ),
    "a page of the reference is missing": (
        removes("docs/commands.md"),
        "docs/commands.md: it differs from the code",
    ),
    "a link to a missing page": (
        adds("docs/store.md", "\n[x](shop.md)\n"),
        "docs/store.md: shop.md: there is no such file",
    ),
    "a link to a missing heading": (
        adds("docs/store.md", "\n[x](security.md#shop)\n"),
        "docs/store.md: security.md#shop: security.md has no such heading",
    ),
    "a link to a missing heading of the same page": (
        adds("docs/store.md", "\n[x](#shop)\n"),
        "docs/store.md: #shop: store.md has no such heading",
    ),
    "a link of the README to a missing page": (
        adds("README.md", "\n[x](docs/shop.md)\n"),
        "README.md: docs/shop.md: there is no such file",
    ),
    "a link that works on GitHub only": (
        adds("docs/store.md", "\n[x](../README.md)\n"),
        "docs/store.md: ../README.md: it leaves the site",
    ),
    "a link to a file that the repository has not": (
        adds("docs/store.md", f"\n[x]({BLOB}/shop.py)\n"),
        f"docs/store.md: {BLOB}/shop.py: the repository has no such file",
    ),
    "a page that nobody can reach": (
        adds("docs/shop.md", "# Shop\n"),
        "zensical.toml: shop.md is not in the navigation",
    ),
    "a page in the navigation that is not there": (
        replaces("zensical.toml", '"store.md"', '"shop.md"'),
        "zensical.toml: shop.md is in the navigation, and there is no such page",
    ),
    "a page twice in the navigation": (
        replaces("zensical.toml", '"benchmarks.md"', '"testing.md"'),
        "zensical.toml: testing.md is in the navigation more than once",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_finds(fault: str, copy: Path):
    break_it, told = FAULTS[fault]
    break_it(copy)
    checked = python("docs/reference", "--check", cwd=copy)
    assert checked.returncode == 1
    assert told in checked.stderr
    assert "Traceback" not in checked.stderr


def test_pages_are_written_anew(copy: Path):
    (copy / "docs" / "settings.md").write_text("old\n")
    (copy / "docs" / "commands.md").unlink()
    assert python("docs/reference", cwd=copy).returncode == 0
    for name in ("settings.md", "commands.md"):
        assert (copy / "docs" / name).read_text() == (DOCS / name).read_text()


def test_nothing_on_the_site_comes_from_elsewhere():
    settings = (ROOT / "zensical.toml").read_text()
    assert re.search(r"^font = false", settings, re.MULTILINE)
    # With it, pages ask api.github.com for stars and releases.
    assert not re.search(r"^repo_url", settings, re.MULTILINE)
    assert not re.search(r"^extra_\w+ = .*//", settings, re.MULTILINE)


# Pages are complete.


def test_every_option_of_pytest_is_in_the_reference(tmp_path: Path):
    done = python("-m", "pytest", "--help", "-p", "pytest_compilecache.plugin", cwd=tmp_path)
    shown = {name for name in OPTION.findall(done.stdout) if name.startswith("--compile")}
    ini = set(re.findall(r"^  (compile\w+) \(", done.stdout, re.MULTILINE))
    assert len(shown) >= 7
    assert len(ini) >= 11
    page = (DOCS / "settings.md").read_text()
    for name in shown:
        assert re.search(rf"`{name}[ `]", page), name
    for name in ini:
        assert f"`{name}`" in page


def test_every_variable_that_is_read_is_in_the_reference(tmp_path: Path):
    asked = Asked()
    environment_layer(asked, tmp_path)
    read_deployment(asked, Places(app=tmp_path, mount=tmp_path, temporary=tmp_path))
    assert {"COMPILECACHE_STORE", "B10FS_CACHE_DIR", "MAX_CACHE_SIZE_CAP_MB"} < asked.names
    page = (DOCS / "settings.md").read_text()
    for name in asked.names:
        assert re.search(rf"`{name}`|^### {name}$", page, re.MULTILINE), name


def test_every_command_is_in_the_reference():
    listed = python("-m", "pytest_compilecache", "--help").stdout.partition("Commands:\n")[2]
    assert re.findall(r"^  (\w+) ", listed, re.MULTILINE) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_in_the_reference(command: str):
    shown = python("-m", "pytest_compilecache", command, "--help").stdout
    page = (DOCS / "commands.md").read_text()
    section = page.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    for name in re.findall(r"^  (?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE):
        assert name == "--help" or re.search(rf"^\| `{name}[ `]", section, re.MULTILINE), name
    (usage,) = re.findall(r"^Usage: (.*)$", shown, re.MULTILINE)
    assert usage.replace("python -m pytest_compilecache", "compilecache") in section


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
    for each in findings.FINDINGS:
        assert f"\n### {each.title}\n" in page
        assert f"\n{each.means}\n" in page
        first_words = each.told.partition("{")[0]
        assert first_words in page


def test_doctor_finds_nothing_but_what_the_reference_has():
    names = {name for name, each in vars(findings).items() if isinstance(each, findings.Finding)}
    assert len(names) == len(findings.FINDINGS)
    used = set()
    for source, node in nodes_of_the_package():
        if isinstance(node, ast.Call) and called(node) == "Diagnosis":
            assert source.name == "findings.py", f"{source} makes a finding of its own"
        if isinstance(node, ast.Attribute) and node.attr in names:
            used.add(node.attr)
    assert used == names  # and the reference has none that cannot be found


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


def nodes_of_the_package() -> Iterator[tuple[Path, ast.AST]]:
    for source in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text())):
            yield source, node


def called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
