"""Calls of what torch.compile made that run eager, because Dynamo does not even begin."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.names import (
    CONVERT_FRAME,
    EVAL_FRAME,
    MODULE,
    dynamo_setting,
    loaded,
)

TURNED_OFF = "turned off"
_MODE = "a TorchDispatchMode is in force, under which Dynamo compiles nothing"
_GENERATOR = "it is a generator; call it in a function, and compile that"


def note_eager_calls(patches: Patches, note: Callable[[CodeType, str], object]) -> bool:
    """Tell of calls of compiled functions that Dynamo does not look into.

    Dynamo asks for the first instruction of every frame that it looks at. To wrap what
    asks would put a frame of ours among those that Dynamo looks through.

    Args:
        patches: Undoes it.
        note: Takes the function's code and why; ``TURNED_OFF`` where a setting says so. It
            must not raise.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def asking(code: CodeType) -> Any:
            asks = sys._getframe(1)  # noqa: SLF001
            # Of the frames below it, such as a module's parts, there is no news.
            reason = _left_eager(code, asks) if _called_by_dynamo(asks.f_back) else ""
            if reason:
                note(code, reason)
            return original(code)

        return asking

    return patches.wrap(sys.modules.get(CONVERT_FRAME), "first_real_inst_idx", make)


def _called_by_dynamo(caller: FrameType | None) -> bool:
    return caller is not None and caller.f_globals.get("__name__") == EVAL_FRAME


def _left_eager(code: CodeType, asks: FrameType) -> str:
    if dynamo_setting("disable"):
        return TURNED_OFF
    dynamo = asks.f_locals.get("self")
    converts = getattr(dynamo, "_torchdynamo_orig_backend", None) or getattr(
        dynamo, "_torchdynamo_orig_callable", None
    )
    if _in_dispatch_mode() and not getattr(converts, "_export", False):
        return _MODE
    is_generator = code.co_flags & inspect.CO_GENERATOR
    # As one graph it is refused instead.
    return _GENERATOR if is_generator and hasattr(converts, "_inner_convert") else ""


def _in_dispatch_mode() -> bool:
    """What Dynamo asks, by the names of each version."""
    modes = "torch.utils._python_dispatch"
    walks = dynamo_setting("inline_torch_dispatch_torch_compile")
    name = "any_torch_dispatch_mode_on_stack" if walks else ""
    ask = loaded(modes, name) or loaded(modes, "is_in_any_mode_without_ignore_compile_internals")
    if ask is None:
        older = loaded(modes, "is_in_torch_dispatch_mode")
        ask = functools.partial(older, include_infra_modes=False) if older else bool
    return bool(ask())


def note_eager_modules(patches: Patches, note: Callable[[str], object]) -> bool:
    """Tell of modules that compile themselves and of which Dynamo will compile nothing.

    ``Module.compile`` starts at code of torch's, which Dynamo skips together with the
    forward of every module of ``torch.nn``: a model of such modules alone runs eager.

    Args:
        patches: Undoes it.
        note: Takes the class of the module. It must not raise.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def compile_itself(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            if not kwargs.get("fullgraph") and _is_torchs_own(self):  # of that, torch warns
                note(type(self).__qualname__)

        return compile_itself

    return patches.wrap(loaded(MODULE, "Module"), "compile", make)


def _is_torchs_own(module: Any) -> bool:
    return all(
        str(getattr(type(each).forward, "__module__", "")).startswith("torch.nn.")
        for each in module.modules()
    )
