"""The mark ``compiled``: read, checked and merged while tests are collected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.compiling.contracts import Contracts
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.settings import (
    FALLBACK_MODES,
    ISOLATIONS,
    FallbackMode,
    Isolation,
)

NAME = "compiled"
_OPTIONS = tuple(item.name for item in dataclasses.fields(CompileOptions))
# A full graph is an argument of torch.compile as well; the last follows from the mode.
_NOT_NAMED = frozenset({"fullgraph", "never_eager"})
_CONTRACTS = tuple(
    item.name for item in dataclasses.fields(Contracts) if item.name not in _NOT_NAMED
)
# Torch takes one of them; a mark that gives one takes the project's other one back.
_EXCLUSIVE = {"mode": "options", "options": "mode"}
_PROJECT = pytest.StashKey[Mapping[str, Any]]()
_KNOWN = (*_OPTIONS, *_CONTRACTS, "fallback", "isolation")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "mode": (str, type(None)),
    "fullgraph": (bool,),
    "dynamic": (bool, type(None)),
    "options": (dict, type(None)),
    "warm": (bool,),
}
_COUNTS = ("max_graphs", "max_graph_breaks", "max_recompiles")


@dataclass(frozen=True, slots=True)
class Marked:
    """What the marks on a test say.

    Attributes:
        options: How to compile.
        contracts: What must hold at the test's end.
        fallback: What a failure to compile means, or None where the marks do not say.
        isolation: What the test does not share with those before it, or None likewise.
    """

    options: CompileOptions
    contracts: Contracts
    fallback: FallbackMode | None = None
    isolation: Isolation | None = None


def is_marked(item: pytest.Item) -> bool:
    """Whether a test bears the mark; one with positional arguments is another's."""
    return any(not mark.args for mark in item.iter_markers(NAME))


def marked(item: pytest.Item) -> Marked:
    """The merged arguments of the marks on an item, the nearest first, over the project's.

    Raises:
        pytest.UsageError: An argument is unknown or contradicts another.
    """
    merged: dict[str, Any] = {}
    for node, mark in item.iter_markers_with_node(NAME):
        if mark.args:
            continue
        _check(item, node, mark)
        for name, value in mark.kwargs.items():
            merged.setdefault(name, value)
    for name, value in project_options(item.config).items():
        if not {name, _EXCLUSIVE.get(name)} & merged.keys():
            merged.setdefault(name, value)
    fallback = merged.pop("fallback", None)
    isolation = merged.pop("isolation", None)
    contracts = {name: merged.pop(name) for name in _CONTRACTS if name in merged}
    if merged.get("fullgraph") and contracts.get("max_graph_breaks"):
        raise pytest.UsageError(
            f"{item.nodeid}: mark 'compiled' allows {contracts['max_graph_breaks']} graph breaks "
            "(max_graph_breaks) and none (fullgraph); drop one of them"
        )
    fullgraph = bool(merged.get("fullgraph", False))
    try:
        options = CompileOptions(**merged)
    except ValueError as error:
        raise pytest.UsageError(f"{item.nodeid}: mark 'compiled': {error}") from None
    return Marked(options, Contracts(fullgraph=fullgraph, **contracts), fallback, isolation)


def project_options(config: pytest.Config) -> Mapping[str, Any]:
    """The options in the project's pyproject.toml, ``[tool.compilecache.compile]``.

    Raises:
        pytest.UsageError: One of them cannot be used.
    """
    if _PROJECT not in config.stash:
        file = config.rootpath / "pyproject.toml"
        try:
            config.stash[_PROJECT] = _read(file) if file.is_file() else {}
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_PROJECT]


def _read(file: Path) -> Mapping[str, Any]:
    given, default = CompileOptions.from_pyproject(file), CompileOptions()
    values = {name: getattr(given, name) for name in _OPTIONS}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def faults(items: Iterable[pytest.Item]) -> list[str]:
    """What is wrong with the marks of items, a line for each item that is concerned."""
    found = []
    for item in items:
        try:
            marked(item)
        except pytest.UsageError as error:
            found.append(str(error))
    return found


def _check(item: pytest.Item, node: Any, mark: pytest.Mark) -> None:
    where = f"{item.nodeid}: mark 'compiled'" + ("" if node is item else f" on {node.nodeid}")
    unknown = sorted(set(mark.kwargs) - set(_KNOWN))
    if unknown:
        raise pytest.UsageError(
            f"{where} has no argument {unknown[0]!r}; it knows {', '.join(_KNOWN)}"
        )
    _check_types(where, mark.kwargs)
    _check_contracts(where, mark.kwargs)


def _check_types(where: str, arguments: Mapping[str, Any]) -> None:
    for name, types in _TYPES.items():
        if name in arguments and not isinstance(arguments[name], types):
            raise pytest.UsageError(f"{where} has {name}={arguments[name]!r}, of a wrong type")
    backend = arguments.get("backend", "inductor")
    if not (isinstance(backend, str) or callable(backend)):
        raise pytest.UsageError(f"{where} has backend={backend!r}, neither a name nor callable")
    fallback = arguments.get("fallback", "eager")
    if fallback not in FALLBACK_MODES:
        modes = ", ".join(FALLBACK_MODES)
        raise pytest.UsageError(f"{where} has fallback={fallback!r}; use {modes}")
    isolation = arguments.get("isolation", "none")
    if isolation not in ISOLATIONS:
        ways = ", ".join(ISOLATIONS)
        raise pytest.UsageError(f"{where} has isolation={isolation!r}; use {ways}")


def _check_contracts(where: str, arguments: Mapping[str, Any]) -> None:
    for name in _COUNTS:
        value = arguments.get(name)
        if value is not None and (type(value) is not int or value < 0):
            raise pytest.UsageError(f"{where} has {name}={value!r}; use a whole number, 0 or more")
    seconds = arguments.get("max_compile_seconds")
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and seconds > 0):
        raise pytest.UsageError(
            f"{where} has max_compile_seconds={seconds!r}; use a number of seconds above 0"
        )
