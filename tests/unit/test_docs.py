"""The pages: as the code says, and without a link that leads nowhere."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from pytest_compilecache.cli.servers import run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def python(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False
    )


def test_options_of_run_in_the_page_on_production_are_those_that_it_has():
    page = (DOCS / "production.md").read_text()
    rows = dict(re.findall(r"^\| `(--[\w-]+).*?` \| (\S*) ?\|", page, re.MULTILINE))
    # Where a store is looked for is told for all commands at once.
    options = {each.opts[0]: each for each in run.params if isinstance(each, click.Option)}
    assert rows.keys() == options.keys() - {"--store"}
    # This one has none, as a URL may take its place; its help says what then holds.
    assert f"[default: {rows.pop('--quiet-seconds')}]" in (options["--quiet-seconds"].help or "")
    documented = {name: default for name, default in rows.items() if default.isdecimal()}
    assert documented == {name: str(options[name].default) for name in documented}
    assert len(documented) == 3


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
WRONG_LINKS = {
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


def test_check_finds_stale_pages_missing_ones_and_wrong_links(copy: Path):
    replaces("docs/settings.md", "- default: `10240`", "- default: `10241`")(copy)
    replaces("docs/troubleshooting.md", "### A noexec mount\n", "")(copy)
    removes("docs/commands.md")(copy)
    adds("docs/store.md", "\n[x](shop.md)\n")(copy)
    checked = python("docs/reference", "--check", cwd=copy)
    stale = "it differs from the code; run python docs/reference"
    assert (checked.returncode, checked.stderr.splitlines()[:3]) == (
        1,
        [f"docs/{name}.md: {stale}" for name in ("commands", "settings", "troubleshooting")],
    )
    assert "docs/store.md: shop.md: there is no such file" in checked.stderr.splitlines()


@pytest.fixture(scope="module")
def wrong_links() -> Callable[[Path], Iterator[str]]:
    """The function that the check calls, here without a process of its own."""
    place = importlib.util.spec_from_file_location("links", DOCS / "reference" / "links.py")
    assert place is not None
    assert place.loader is not None
    links = importlib.util.module_from_spec(place)
    place.loader.exec_module(links)
    return links.wrong_links


@pytest.mark.parametrize("fault", WRONG_LINKS)
def test_check_of_links_finds(fault: str, copy: Path, wrong_links: Callable[[Path], Iterator[str]]):
    break_it, told = WRONG_LINKS[fault]
    assert not list(wrong_links(copy))
    break_it(copy)
    assert any(wrong.startswith(told) for wrong in wrong_links(copy))


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
