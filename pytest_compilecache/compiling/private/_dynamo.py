"""Dynamo's settings and limits."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from pytest_compilecache.compiling.private._names import (
    CONVERT_FRAME,
    DECORATORS,
    EVAL_FRAME,
    Undo,
    loaded,
    put,
)


def recompile_limit() -> int | None:
    """Dynamo's limit of recompiles of one function, or None where it cannot be told."""
    value = dynamo_setting("recompile_limit")
    return value if isinstance(value, int) else None


def dynamo_setting(name: str) -> Any:
    """A setting of Dynamo's, or None where it cannot be told."""
    return getattr(sys.modules.get("torch._dynamo.config"), name, None)


def set_recompile_limit(value: int) -> None:
    """Set the limit."""
    sys.modules["torch._dynamo.config"].recompile_limit = value  # type: ignore[attr-defined]


def note_limits(note: Callable[[str, str, str], None]) -> Undo | None:
    """Tell when Dynamo gives up on a function, of which it only logs.

    Args:
        note: Takes the function with its place, the limit, and why it was last compiled again.

    Returns:
        How to undo it, or None where this torch offers no place for it.
    """
    module = sys.modules.get(CONVERT_FRAME)
    original = getattr(module, "exceeds_recompile_limit", None)
    if module is None or original is None:
        return None

    @functools.wraps(original)
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        exceeded, limit = result if isinstance(result, tuple) else (result, "recompile_limit")
        if exceeded:
            asked = sys._getframe(1).f_locals  # noqa: SLF001
            code, reason = asked.get("code"), asked.get("recompile_reason")
            place = f"{code.co_name} ({code.co_filename}:{code.co_firstlineno})" if code else ""
            note(place, str(limit), " ".join(str(reason or "").split()))
        return result

    return put(module, "exceeds_recompile_limit", noting)


def reset_dynamo() -> None:
    """Forget all compiled code of this process."""
    reset = loaded("torch._dynamo", "reset")
    if reset is not None:
        reset()


# --- running eager although asked to compile -----------------------------------


def note_stances(note: Callable[[str], None]) -> Undo | None:
    """Tell when a stance is set that lets code run eager (``torch.compiler.set_stance``)."""
    module = sys.modules.get(DECORATORS)
    original = getattr(module, "_set_stance", None)
    if module is None or original is None:
        return None

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
    return put(module, "_set_stance", noting)


# Whether a stance is ours: nobody is told that he ran eager who asked us for it.
_OURS: ContextVar[bool] = ContextVar("ours", default=False)


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
    """The stance in force, ``default`` where it cannot be told."""
    return str(getattr(loaded(EVAL_FRAME, "_stance"), "stance", "default"))


def note_disabled(note: Callable[[Any], None]) -> Undo | None:
    """Tell when ``torch.compile`` hands a function back as it is, because it is turned off."""
    decorator = loaded(EVAL_FRAME, "_NullDecorator")
    original = vars(decorator).get("__call__") if decorator is not None else None
    if original is None:
        return None

    @functools.wraps(original)
    def noting(self: Any, function: Any) -> Any:
        note(function)
        return original(self, function)

    return put(decorator, "__call__", noting)


def turned_off_by() -> str:
    """What turns ``torch.compile`` off in this process, or empty."""
    if os.environ.get("TORCHDYNAMO_DISABLE") == "1":
        return "TORCHDYNAMO_DISABLE=1"
    if dynamo_setting("disable"):
        named = os.environ.get("TORCH_COMPILE_DISABLE") == "1"
        return "TORCH_COMPILE_DISABLE=1" if named else "torch._dynamo.config.disable"
    return ""
