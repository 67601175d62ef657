"""Finds what the site's builder lets pass: links outside the pages, and pages nobody can reach.

GitHub shows the same files, so that a link has to be right in both places: between pages by their
file names, and to the rest of the repository by its address on GitHub.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = "https://github.com/pytest-compilecache/pytest-compilecache/blob/main/"
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def wrong_links(root: Path) -> Iterator[str]:
    """What is wrong with the README, the pages and the navigation."""
    pages = sorted((root / "docs").glob("*.md"))
    for page in (root / "README.md", *pages):
        for link in _links(page):
            reason = _wrong(link, page, root)
            if reason:
                yield f"{page.relative_to(root)}: {link}: {reason}"
    yield from _wrong_navigation(root, {page.name for page in pages})


def _links(page: Path) -> list[str]:
    return _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))


def _wrong(link: str, page: Path, root: Path) -> str:
    """Why a link does not lead to where it seems to; empty where it does."""
    place, _, anchor = link.partition("#")
    if place.startswith(REPOSITORY):
        there = (root / place.removeprefix(REPOSITORY)).exists()
        return "" if there else "the repository has no such file"
    if "://" in place:
        return ""
    target = (page.parent / place).resolve() if place else page
    if not target.is_file():
        return "there is no such file"
    if page.parent.name == "docs" and target.parent != page.parent:
        return f"it leaves the site; write {REPOSITORY}…"
    if anchor and anchor not in _anchors(target):
        return f"{target.name} has no such heading"
    return ""


def _anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings, in which a repeated one is not linked."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def _wrong_navigation(root: Path, pages: set[str]) -> Iterator[str]:
    settings = tomllib.loads((root / "zensical.toml").read_text(encoding="utf-8"))
    listed = list(_listed(settings["project"]["nav"]))
    for name in sorted(pages - set(listed)):
        yield f"zensical.toml: {name} is not in the navigation"
    for name in sorted(set(listed) - pages):
        yield f"zensical.toml: {name} is in the navigation, and there is no such page"
    for name in sorted(name for name in set(listed) if listed.count(name) > 1):
        yield f"zensical.toml: {name} is in the navigation more than once"


def _listed(navigation: Any) -> Iterator[str]:
    if isinstance(navigation, str):
        yield navigation
        return
    for each in navigation.values() if isinstance(navigation, dict) else navigation:
        yield from _listed(each)
