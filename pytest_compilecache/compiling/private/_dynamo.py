"""Dynamo's settings and limits."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from pytest_compilecache.compiling.private._names import CONVERT_FRAME, Undo, loaded


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
            place = f"'{code.co_name}' ({code.co_filename}:{code.co_firstlineno})" if code else ""
            note(place, str(limit), " ".join(str(reason or "").split()))
        return result

    module.exceeds_recompile_limit = noting  # type: ignore[attr-defined]

    def undo() -> None:
        module.exceeds_recompile_limit = original  # type: ignore[attr-defined]

    return undo


def reset_dynamo() -> None:
    """Forget all compiled code of this process."""
    reset = loaded("torch._dynamo", "reset")
    if reset is not None:
        reset()
