"""Warnings that torch means to hide while it compiles."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from pytest_compilecache.compiling.private._names import Undo, nothing

_MESSAGE = r"The \.grad attribute of a Tensor"


def hide_gradient_warnings() -> Undo:
    """Let Dynamo's own look at ``tensor.grad`` pass where warnings are errors.

    It looks at each input of a graph. Torch warns of that for what another layer
    computed, and hides the warning only where it is shown: made an error, it
    stops the compilation (torch 2.8 to 2.15). Done once; a second call does nothing.
    """
    module = sys.modules.get("torch._logging")
    original = getattr(module, "hide_warnings", None)
    if module is None or original is None or hasattr(original, "_compilecache"):
        return nothing

    @contextlib.contextmanager
    @functools.wraps(original)
    def hide(*args: Any, **kwargs: Any) -> Iterator[None]:
        with original(*args, **kwargs), warnings.catch_warnings():
            warnings.filterwarnings("ignore", _MESSAGE)
            yield

    hide._compilecache = True  # type: ignore[attr-defined]  # noqa: SLF001
    module.hide_warnings = hide  # type: ignore[attr-defined]

    def undo() -> None:
        module.hide_warnings = original  # type: ignore[attr-defined]

    return undo
