"""Small pieces of Markdown, alike on GitHub and on the site."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by docs/reference from the code; change that, and run it. -->"


def page(title: str, *parts: str) -> str:
    """A page; parts are blocks that may be empty."""
    blocks = (GENERATED, f"# {title}", *parts)
    return "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def bullets(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names with values; what has no value is left out."""
    return "\n".join(f"- {name}: {value}" for name, value in pairs if value)


def code(text: object) -> str:
    """Text as code."""
    return f"`{text}`"


def paragraphs(text: str) -> str:
    """A docstring as Markdown: double backticks are reStructuredText's."""
    return re.sub(r"``([^`]+)``", r"`\1`", inspect.cleandoc(text))


def _cell(text: str) -> str:
    if "|" in text:
        # Of two ways to escape it in code, GitHub shows one and the site the other.
        raise ValueError(f"a bar cannot stand in a table: {text}")
    return text.replace("\n", " ")
