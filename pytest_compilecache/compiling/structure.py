"""Takes any value apart into named leaves: tensors, numbers, and the shape of what holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from pytest_compilecache.torchhooks import compiled as compiled_objects


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is not taken apart further, with the path that leads to it."""

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds other values: its type, and the names of its parts in no order."""

    type: type
    parts: frozenset[str]

    def __str__(self) -> str:
        return f"{self.type.__name__} of {len(self.parts)}"


def leaves_of(value: Any, path: str) -> Iterator[Leaf]:
    """All leaves of a value, each holder before its parts.

    Mappings, sequences, dataclasses and registered pytrees are taken apart, and
    other objects that do not say themselves when they are equal, by their attributes.

    Args:
        value: The value.
        path: What the value is called.
    """
    return _leaves_of(value, path, ())


def tensors_of(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors among the leaves."""
    for leaf in leaves_of(value, path):
        if isinstance(leaf.value, torch.Tensor):
            yield leaf.path, leaf.value


def _leaves_of(value: Any, path: str, above: tuple[int, ...]) -> Iterator[Leaf]:
    parts = None if id(value) in above else _parts_of(value)
    if parts is None:
        yield Leaf(path, value)
        return
    yield Leaf(path, Holder(type(value), frozenset(parts)))
    for name, part in parts.items():
        yield from _leaves_of(part, f"{path}{name}", (*above, id(value)))


def says_when_equal(value: Any) -> bool:
    """Whether ``==`` tells more of a value than which object it is."""
    equals: Any = type(value).__eq__
    return equals is not object.__eq__


def _parts_of(value: Any) -> dict[str, Any] | None:
    """The parts of a value by the names that follow its own, or None for a leaf."""
    if isinstance(value, (torch.Tensor, torch.nn.Module, type, str, bytes)):
        return None
    if isinstance(value, Mapping):
        return {f"[{key!r}]": part for key, part in value.items()}
    names = _names_of_parts(value)
    if names is not None:
        return {f".{name}": getattr(value, name) for name in names if hasattr(value, name)}
    sequence = (
        value if isinstance(value, (list, tuple)) else compiled_objects.pytree_children(value)
    )
    if sequence is not None:
        return {f"[{index}]": part for index, part in enumerate(sequence)}
    if says_when_equal(value) or callable(value) or not hasattr(value, "__dict__"):
        return None
    return {f".{name}": part for name, part in vars(value).items()}


def _names_of_parts(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, tuple):
        return getattr(value, "_fields", None)
    if dataclasses.is_dataclass(value):
        return tuple(field.name for field in dataclasses.fields(value))
    return None
