"""Running eager although asked to compile: stances, and compiling that is turned off."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.names import DECORATORS, EVAL_FRAME, dynamo_setting, loaded

# Whether a stance is ours: it is not reported to the person who asked us for it.
_OURS: ContextVar[bool] = ContextVar("ours", default=False)


def note_stances(patches: Patches, note: Callable[[str], object]) -> bool:
    """Tell when a stance is set that lets code run eager (``torch.compiler.set_stance``)."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def noting(stance: Any) -> Any:
            name = getattr(stance, "stance", "default")
            # Under the last, nothing runs eager: it raises instead.
            # To enter a stance is to set it twice.
            again = name == current_stance()
            if name not in {"default", "fail_on_recompile"} and not (again or _OURS.get()):
                note(str(name))
            return original(stance)

        noting._dynamo_forbidden = True  # type: ignore[attr-defined]  # noqa: SLF001
        return noting

    return patches.wrap(sys.modules.get(DECORATORS), "_set_stance", make)


class ForceEager:
    """Lets everything run eager while it is entered. Dynamo must be loaded."""

    @staticmethod
    def possible() -> bool:
        """Whether Dynamo is loaded so far that it takes stances."""
        return loaded(DECORATORS, "set_stance") is not None

    def __enter__(self) -> None:
        """Take the stance."""
        # Not torch.compiler's, which fails in the middle of Dynamo's import.
        set_stance = loaded(DECORATORS, "set_stance")
        with _as_ours():
            self._stance = set_stance("force_eager") if set_stance else contextlib.nullcontext()

    def __exit__(self, *_: object) -> None:
        """Take the stance that was before."""
        with _as_ours():
            self._stance.__exit__(None, None, None)


@contextlib.contextmanager
def _as_ours() -> Iterator[None]:
    token = _OURS.set(True)
    try:
        yield
    finally:
        _OURS.reset(token)


def current_stance() -> str:
    """The stance in force, ``default`` where this torch does not show it."""
    return str(getattr(loaded(EVAL_FRAME, "_stance"), "stance", "default"))


def note_disabled(patches: Patches, note: Callable[[Any], object]) -> bool:
    """Tell when ``torch.compile`` hands a function back as it is, because it is turned off."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def noting(self: Any, function: Any) -> Any:
            note(function)
            return original(self, function)

        return noting

    return patches.wrap(loaded(EVAL_FRAME, "_NullDecorator"), "__call__", make)


def turned_off_by() -> str:
    """What turns ``torch.compile`` off in this process, or empty."""
    if os.environ.get("TORCHDYNAMO_DISABLE") == "1":
        return "TORCHDYNAMO_DISABLE=1"
    if dynamo_setting("disable"):
        named = os.environ.get("TORCH_COMPILE_DISABLE") == "1"
        return "TORCH_COMPILE_DISABLE=1" if named else "torch._dynamo.config.disable"
    return ""
