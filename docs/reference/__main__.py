"""Writes the pages that are made from the code, or says what is wrong with all pages.

``python docs/reference`` writes them; ``python docs/reference --check`` writes nothing, and fails
when one differs from the code or a link is wrong. The pages are kept in the repository, so that
they can be read there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from commands import commands_page
from links import wrong_links
from python import python_page
from settings import settings_page
from troubleshooting import troubleshooting_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    "commands.md": commands_page,
    "python.md": python_page,
    "settings.md": settings_page,
    "troubleshooting.md": troubleshooting_page,
}


def write() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")


def check() -> Iterator[str]:
    """What is wrong."""
    for name, page in PAGES.items():
        path = ROOT / "docs" / name
        if not path.is_file() or path.read_text(encoding="utf-8") != page():
            yield f"docs/{name}: it differs from the code; run python docs/reference"
    yield from wrong_links(ROOT)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        wrong = list(check())
        sys.exit("\n".join(wrong) or 0)
    write()
