"""Golden forms: what a command printed, with names in place of what differs from run to run.

Where one is meant to change, ``COMPILECACHE_TESTS=golden`` writes it anew; read it then.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "golden"

# What differs from run to run, by the key that it stands under, and its type.
_VARYING: Mapping[str, tuple[str, type]] = {
    "bytes": ("<bytes>", int),
    "workspace_bytes": ("<bytes>", int),
    "seconds": ("<seconds>", float),
    "modified": ("<time>", float),
    "version": ("<version>", str),
    "python": ("<version>", str),
    "explanation": ("<explanation>", str),
}
_NAMES = (
    (re.compile(r"torch[\w.+-]*?-[0-9a-f]{16}\b"), "<environment>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<digest>"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "<digest>"),
    (re.compile(rf"compilecache-{os.getuid()}\b"), "compilecache-<user id>"),
)


def compare(name: str, case: str, found: Any) -> None:
    """Compare with one case of a golden file; types count, and the order of keys does not."""
    file = FOLDER / f"{name}.json"
    cases = json.loads(file.read_text()) if file.exists() else {}
    if os.environ.get("COMPILECACHE_TESTS") == "golden":
        FOLDER.mkdir(exist_ok=True)
        file.write_text(json.dumps({**cases, case: found}, indent=2, ensure_ascii=False) + "\n")
        pytest.fail(f"{file} is written: read it")
    # As text, because in Python 1 == True == 1.0.
    assert json.dumps(found, indent=2, sort_keys=True) == json.dumps(
        cases[case], indent=2, sort_keys=True
    )


def compare_text(name: str, found: str) -> None:
    """Compare with a golden text."""
    file = FOLDER / "help" / f"{name}.txt"
    if os.environ.get("COMPILECACHE_TESTS") == "golden":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found)
        pytest.fail(f"{file} is written: read it")
    assert found == file.read_text()


def golden(value: Any, root: Path, key: str = "") -> Any:
    """A value as its golden form has it.

    Args:
        value: What was printed.
        root: The folder that the test works in.
        key: What it stands under.
    """
    if key == "differences":
        return [_difference(each) for each in value]
    if key == "fields":  # of an environment: each one's value is the machine's
        return dict.fromkeys(value, "<value>")
    if isinstance(value, dict):
        return {golden(name, root): golden(each, root, name) for name, each in value.items()}
    if isinstance(value, list):
        return [golden(each, root, key) for each in value]
    name, kind = _VARYING.get(key, ("", object))
    if name and type(value) is kind:
        return name if value else value  # nothing, and no time at all, vary in no run
    return _named(value, root) if isinstance(value, str) else value


def _difference(value: dict[str, str]) -> dict[str, str]:
    """The other environment of the tests has one field, and the same torch or another."""
    return {**value, "here": "<value>"}


def _named(text: str, root: Path) -> str:
    text = text.replace(str(root), "<root>")
    for pattern, name in _NAMES:
        text = pattern.sub(name, text)
    return text
