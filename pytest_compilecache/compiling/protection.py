"""Protects a process from code that was made for other vector instructions, and shares headers.

It imports nothing of torch: it waits until torch has loaded what it changes, and
can give all of it back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import EventSink
from pytest_compilecache.compiling.isa import IsaTag
from pytest_compilecache.imports import Callback, ImportWatch
from pytest_compilecache.workspace.heal import heal
from pytest_compilecache.workspace.place import Workspace

_CACHES = (
    (private.CODECACHE, "FxGraphCache"),
    (private.AUTOGRAD_CACHE, "AOTAutogradCache"),
)


class Protection:
    """What must hold wherever a workspace is used, or torch "hits" and computes wrong numbers.

    Precompiled headers lie in the workspace, cache keys name the vector
    instructions that torch picks, and entries lie apart from those of processes
    whose keys do not.

    Args:
        workspace: The workspace; without one, entries are kept apart and nothing else.
        sink: Where instructions are reported that are lower than before.
    """

    def __init__(self, workspace: Workspace | None, sink: EventSink) -> None:
        self._workspace = workspace
        self._sink = sink
        self._undo: list[private.Undo] = []

    def attach(self, watch: ImportWatch, guarded: Callable[[Callback], Callback]) -> None:
        """Protect what is compiled from here on; at once where torch is loaded already.

        Args:
            watch: Tells when torch has loaded a module.
            guarded: Wraps what runs in the middle of torch's import, where nothing may raise.
        """
        watch.after(private.CODECACHE, guarded(self._use_workspace))
        for module, cache in _CACHES:
            watch.after(module, guarded(functools.partial(self._keep_entries_apart, module, cache)))

    def undo(self) -> None:
        """Give torch back as it was."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _use_workspace(self) -> None:
        workspace = self._workspace
        if workspace is None:
            return
        self._undo.append(private.redirect_headers(workspace.headers))
        record = workspace.state / "isa.json"
        tag = IsaTag(self._sink, lambda: bool(heal(workspace).torn), record)
        undo = private.tag_cache_keys(lambda: tag() + private.attention_tag())
        if undo is not None:
            self._undo.append(undo)

    def _keep_entries_apart(self, module: str, cache: str) -> None:
        self._undo.append(private.keep_entries_apart(module, cache))


def compiled_before() -> bool:
    """Whether Inductor has looked for anything in its cache in this process."""
    return any(private.read_counts().fx.values())
