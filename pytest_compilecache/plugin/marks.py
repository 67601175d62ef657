"""The mark ``compiled``: read, checked and merged while tests are collected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from pytest_compilecache.compiling.options import CompileOptions

NAME = "compiled"
FALLBACKS = ("eager",)
_KNOWN = tuple(item.name for item in dataclasses.fields(CompileOptions))


def options_of(item: pytest.Item) -> CompileOptions:
    """The merged arguments of the marks on an item, the nearest mark first.

    Raises:
        pytest.UsageError: An argument is unknown or contradicts another.
    """
    merged: dict[str, Any] = {}
    for node, mark in item.iter_markers_with_node(NAME):
        _check(item, node, mark)
        for name, value in mark.kwargs.items():
            merged.setdefault(name, value)
    merged.pop("fallback", None)
    try:
        return CompileOptions(**merged)
    except ValueError as error:
        raise pytest.UsageError(f"{item.nodeid}: mark 'compiled': {error}") from None


def faults(items: Iterable[pytest.Item]) -> list[str]:
    """What is wrong with the marks of items, a line for each item that is concerned."""
    found = []
    for item in items:
        try:
            options_of(item)
        except pytest.UsageError as error:
            found.append(str(error))
    return found


def _check(item: pytest.Item, node: Any, mark: pytest.Mark) -> None:
    where = f"{item.nodeid}: mark 'compiled'" + ("" if node is item else f" on {node.nodeid}")
    if mark.args:
        raise pytest.UsageError(f"{where} takes keyword arguments only, not {mark.args!r}")
    unknown = sorted(set(mark.kwargs) - {*_KNOWN, "fallback"})
    if unknown:
        raise pytest.UsageError(
            f"{where} has no argument {unknown[0]!r}; it knows {', '.join((*_KNOWN, 'fallback'))}"
        )
    _check_types(where, mark.kwargs)


def _check_types(where: str, arguments: Mapping[str, Any]) -> None:
    allowed: dict[str, tuple[type, ...]] = {
        "mode": (str, type(None)),
        "fullgraph": (bool,),
        "dynamic": (bool, type(None)),
        "options": (dict, type(None)),
    }
    for name, types in allowed.items():
        if name in arguments and not isinstance(arguments[name], types):
            raise pytest.UsageError(f"{where} has {name}={arguments[name]!r}, of a wrong type")
    backend = arguments.get("backend", "inductor")
    if not (isinstance(backend, str) or callable(backend)):
        raise pytest.UsageError(f"{where} has backend={backend!r}, neither a name nor callable")
    fallback = arguments.get("fallback", "eager")
    if fallback not in FALLBACKS:
        raise pytest.UsageError(f"{where} has fallback={fallback!r}; use {', '.join(FALLBACKS)}")
