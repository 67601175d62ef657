"""Reads the table of compile options out of a pyproject.toml. It decides nothing about them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_compilecache.errors import CompileOptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FILE = "pyproject.toml"
_TABLES = ("tool", "compilecache", "compile")


def compile_table(path: Path | None) -> tuple[Mapping[str, Any], str]:
    """The table, and where it stands, for messages.

    Args:
        path: The file, or its folder. Without one, the nearest at or above the
            current folder.

    Raises:
        CompileOptionError: The file cannot be read, or holds something else in its place.
    """
    file = _locate(path)
    table: Any = _load(file)
    for depth, name in enumerate(_TABLES, 1):
        table = table.get(name, {})
        where = f"{file}: [{'.'.join(_TABLES[:depth])}]"
        if not isinstance(table, dict):
            raise CompileOptionError(where, f"{table!r} is no table", "write it as a table")
        if name == "compilecache":
            _check_neighbours(table, where)
    return table, where


def _check_neighbours(table: Mapping[str, Any], where: str) -> None:
    # A table whose name has a typo would silently leave every default in force.
    for name in set(table) - {_TABLES[-1]}:
        reason = f"there is no table or setting {name!r}"
        raise CompileOptionError(where, reason, f"options are in [{'.'.join(_TABLES)}]")


def _locate(path: Path | None) -> Path:
    if path is not None:
        return path / _FILE if path.is_dir() else path
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / _FILE).is_file():
            return folder / _FILE
    raise CompileOptionError(str(here), f"no {_FILE} here or above", "give its path")


def _load(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CompileOptionError(str(file), str(error), "give a readable TOML file") from error
    return content
