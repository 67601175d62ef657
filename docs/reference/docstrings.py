"""Docstrings in Google's style as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from blocks import paragraphs

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Warns|Example):$")
_ITEM = re.compile(r"^(\*{0,2}\w+): (.*)$")
_PROMPT = re.compile(r"^(?:>>>|\.\.\.) ?(.*?)(?:  # doctest:.*)?$")


def described(docstring: str, without: frozenset[str] = frozenset()) -> str:
    """A docstring as Markdown.

    Args:
        docstring: The docstring.
        without: Arguments that a caller does not give.
    """
    return "\n\n".join(_blocks(docstring, without))


def _blocks(docstring: str, without: frozenset[str]) -> Iterator[str]:
    title, lines = "", list[str]()
    for line in [*inspect.cleandoc(docstring).splitlines(), "End:"]:
        new = _SECTION.match(line)
        if not new and line != "End:":
            lines.append(line)
            continue
        text = inspect.cleandoc("\n".join(lines))
        if text:
            yield _block(title, text, without)
        title, lines = new[1] if new else "", []


def _block(title: str, text: str, without: frozenset[str]) -> str:
    if not title:
        return paragraphs(text)
    if title == "Example":
        code = (_PROMPT.sub(r"\1", line) for line in text.splitlines())
        return "```python\n" + "\n".join(code) + "\n```"
    if title == "Returns":
        return f"**Returns** {paragraphs(text)}"
    items = [(name, told) for name, told in _items(text) if name not in without]
    listed = "\n".join(f"- `{name}`: {paragraphs(told)}" for name, told in items)
    names = {"Args": "Arguments"}
    return f"**{names.get(title, title)}**\n\n{listed}" if listed else ""


def _items(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        new = _ITEM.match(line)
        if new:
            found.append((new[1], new[2]))
        else:
            name, told = found[-1]
            found[-1] = name, f"{told} {line.strip()}"
    return found
