"""Changes to objects that are not ours, each with its way back.

One stack holds all changes of one owner and undoes them last in, first out. Two owners
that changed the same place may undo their changes in any order, and what a person
changed meanwhile stays as that person left it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

# Names and values of the variables that we set. A child process (an xdist worker, a
# test's own subprocess) would otherwise take them for its user's.
MARK = "COMPILECACHE_APPLIED"

_MISSING = object()


def users_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that a session of ours, here or in a parent, has set."""
    users = dict(environ)
    for name, value in _marked(users.pop(MARK, "")).items():
        if users.get(name) == value:
            del users[name]
    return users


class Patches:
    """Changes to attributes and environment variables, undone together.

    Args:
        environ: The variables that ``setenv`` changes; by default those of this process.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self._environ: MutableMapping[str, str] = os.environ if environ is None else environ
        self._stack = ExitStack()

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Give an attribute of a module or class another value."""
        self._change(_Attribute(owner, name), lambda _: value)

    def wrap(self, owner: Any, name: str, make: Callable[[Any], Any]) -> bool:
        """Put ``make(original)`` in the place of a function.

        Args:
            owner: A module or a class, or None where torch has none of that name.
            name: The function's name; what has no such name is left alone.
            make: Takes what stands there (for a class: a ``staticmethod`` as such).

        Returns:
            Whether there was such a function.
        """
        if owner is None or name not in vars(owner):
            return False
        self._change(_Attribute(owner, name), make)
        return True

    def setenv(self, name: str, value: str) -> None:
        """Set a variable, marked as ours. The caller has seen that the user did not set it."""
        self._change(_Variable(self._environ, name), lambda _: value)
        self._change(_Variable(self._environ, MARK), lambda below: _with_mark(below, name, value))

    def set_private(self, name: str, value: str) -> None:
        """Set a variable whose name only we use, without marking it."""
        self._change(_Variable(self._environ, name), lambda _: value)

    def add(self, undo: Callable[[], object] | None) -> None:
        """Undo something else as well, in its turn."""
        if undo is not None:
            self._stack.callback(undo)

    def undo(self) -> None:
        """Undo all changes, the last one first. A second call does nothing.

        Raises:
            Exception: One of them could not be undone; the others were.
        """
        self._stack.close()

    def _change(self, place: _Attribute | _Variable, make: Callable[[Any], Any]) -> None:
        self._stack.callback(_apply(place, make))


@dataclass(frozen=True)
class _Attribute:
    owner: Any
    name: str

    @property
    def key(self) -> object:
        return id(self.owner), self.name

    def read(self) -> Any:
        return vars(self.owner).get(self.name, _MISSING)

    def write(self, value: Any) -> None:
        if value is _MISSING:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, value)

    def same(self, one: Any, other: Any) -> bool:
        return one is other

    def holds(self, value: Any) -> bool:
        return self.read() is value


@dataclass(frozen=True)
class _Variable:
    environ: MutableMapping[str, str]
    name: str

    @property
    def key(self) -> object:
        return id(self.environ), self.name

    def read(self) -> Any:
        return self.environ.get(self.name, _MISSING)

    def write(self, value: Any) -> None:
        if value is _MISSING:
            self.environ.pop(self.name, None)
        else:
            self.environ[self.name] = value

    def same(self, one: Any, other: Any) -> bool:
        return bool(one == other)

    def holds(self, value: Any) -> bool:
        return bool(self.read() == value)


@dataclass(eq=False)
class _Layer:
    """One change of one place.

    Attributes:
        value: What it put there.
        below: What stood there before.
    """

    value: Any
    below: Any


@dataclass
class _Changes:
    """The changes of all owners in this process that are not undone."""

    layers: dict[object, list[_Layer]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


_CHANGES = _Changes()


def _apply(place: _Attribute | _Variable, make: Callable[[Any], Any]) -> Callable[[], None]:
    with _CHANGES.lock:
        below = place.read()
        layer = _Layer(make(below), below)
        place.write(layer.value)
        _CHANGES.layers.setdefault(place.key, []).append(layer)

    def undo() -> None:
        with _CHANGES.lock:
            _remove(place, layer)

    return undo


def _remove(place: _Attribute | _Variable, layer: _Layer) -> None:
    layers = _CHANGES.layers[place.key]
    position = layers.index(layer)
    above = layers[position + 1] if position + 1 < len(layers) else None
    del layers[position]
    if not layers:
        del _CHANGES.layers[place.key]
    if above is not None and place.same(above.below, layer.value):
        above.below = layer.below  # which the layer above restores when it is undone
    elif place.holds(layer.value):  # else a person put something there since, which stays
        place.write(layer.below)


def _marked(text: Any) -> dict[str, str]:
    if not text or text is _MISSING:
        return {}
    import json  # noqa: PLC0415  (a session that sets nothing does not need it)

    try:
        values = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {str(key): str(value) for key, value in values.items()}


def _with_mark(text: Any, name: str, value: str) -> str:
    import json  # noqa: PLC0415

    return json.dumps({**_marked(text), name: value})
