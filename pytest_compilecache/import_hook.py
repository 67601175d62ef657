"""Calls back just before or just after a module is imported. It imports none itself.

The module's own loader does its work unchanged and is back in its place
before the module's code runs, so that no code finds ours there.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Callback = Callable[[], object]


class ImportHook:
    """A finder that stands first in ``sys.meta_path`` and finds nothing by itself."""

    def __init__(self) -> None:
        self._before: dict[str, list[Callback]] = {}
        self._after: dict[str, list[Callback]] = {}

    def before(self, name: str, callback: Callback) -> None:
        """Call back before the module is executed; at once if it already was."""
        self._add(self._before, name, callback)

    def after(self, name: str, callback: Callback) -> None:
        """Call back when the module has been executed; at once if it already was."""
        if _is_executing(name):  # a hook that waited for its beginning asks for its end
            self._wait(self._after, name, callback)
        else:
            self._add(self._after, name, callback)

    def remove(self) -> None:
        """Wait for nothing any more."""
        self._before.clear()
        self._after.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find what the other finders find, with our loader around theirs."""
        if not self.waits_for(name):
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            # A pytest inside a pytest has a hook of its own: two that ask each
            # other would never end.
            if isinstance(finder, ImportHook) or find is None:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(name, path, target)
            if spec is None:
                continue
            if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                spec.loader = _Announcing(name, spec.loader)
            return spec
        return None

    def waits_for(self, name: str) -> bool:
        """Whether a callback waits for this module."""
        return name in self._before or name in self._after

    def _add(self, table: dict[str, list[Callback]], name: str, callback: Callback) -> None:
        if name in sys.modules:
            callback()
        else:
            self._wait(table, name, callback)

    def _wait(self, table: dict[str, list[Callback]], name: str, callback: Callback) -> None:
        table.setdefault(name, []).append(callback)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def announce(self, name: str, *, done: bool) -> None:
        """Run the callbacks of one side of an import, each only once."""
        for callback in (self._after if done else self._before).pop(name, []):
            callback()


def _is_executing(name: str) -> bool:
    """Whether a module is being executed under our loader, which says when that ends."""
    module = sys.modules.get(name)
    return isinstance(module, ModuleType) and module in _EXECUTING


# The modules that our loader executes at this moment.
_EXECUTING: list[ModuleType] = []


class _Announcing(importlib.abc.Loader):
    def __init__(self, name: str, loader: Any) -> None:
        self._name = name
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        # is_package, get_filename, get_source …: asked of a spec that is never imported.
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        _EXECUTING.append(module)
        try:
            _announce_to_all(self._name, done=False)
            self._loader.exec_module(module)
        finally:
            _EXECUTING.remove(module)
        _announce_to_all(self._name, done=True)


def _announce_to_all(name: str, *, done: bool) -> None:
    for finder in list(sys.meta_path):
        if isinstance(finder, ImportHook):
            finder.announce(name, done=done)
