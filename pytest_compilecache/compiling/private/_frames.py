"""What Dynamo does with each frame that it is asked to compile."""

from __future__ import annotations

import functools
import inspect
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import CodeType
from typing import Any, Protocol

from pytest_compilecache.compiling.private._names import (
    CONVERT_FRAME,
    DYNAMO_UTILS,
    Undo,
    loaded,
    put,
)

_SOFT = ("Unsupported", "UserError")
_LIMITS = ("RecompileLimitExceeded", "FailOnRecompileLimitHit")
_LIMIT_SAID = "Dynamo recompile limit exceeded"  # 2.13: an Unsupported like others
_EXC = "torch._dynamo.exc"


class FrameWatcher(Protocol):
    """Who wants to know what becomes of frames."""

    def compiling(self, code: CodeType, *, whole: bool) -> AbstractContextManager[None]:
        """Around the compilation of a frame."""

    def failed(self, code: CodeType, error: Exception, *, whole: bool) -> bool:
        """A frame did not compile; whether it shall run eager instead of raising.

        Args:
            code: The frame's code.
            error: What Dynamo raised.
            whole: Whether it was to be one graph (``fullgraph``).

        Raises:
            BaseException: What shall be raised instead.
        """

    def skipped(self, code: CodeType, reason: str) -> None:
        """A frame with something to compile runs eager by Dynamo's own decision."""


def watch_frames(watcher: FrameWatcher) -> Undo | None:
    """Tell a watcher of every frame, and let it turn failures into eager execution.

    It wraps the innermost function that compiles a frame, and none above: Dynamo
    looks through its own stack frames there, and would stumble over ours.

    Returns:
        How to undo it, or None where this torch offers no place for it.
    """
    module = sys.modules.get(CONVERT_FRAME)
    original = getattr(module, "_compile", None)
    give_up = loaded(CONVERT_FRAME, "ConvertFrameReturn")
    if module is None or original is None or give_up is None:
        return None
    if not {"code", "one_graph", "export"} <= set(inspect.signature(original).parameters):
        return None
    return put(module, "_compile", _watched(original, watcher, give_up))


def _watched(
    original: Callable[..., Any], watcher: FrameWatcher, give_up: Callable[..., Any]
) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        asked = signature.bind(*args, **kwargs).arguments
        if asked["export"]:
            return original(*args, **kwargs)
        if "skip" in kwargs:  # how many stack frames lie between: one more
            kwargs["skip"] += 1
        code, whole = asked["code"], bool(asked["one_graph"])
        before = _unimplemented()
        with watcher.compiling(code, whole=whole):
            try:
                result = original(*args, **kwargs)
            except Exception as error:
                # Also within torch._dynamo.error_on_graph_break, where torch raises as well.
                box = asked.get("convert_frame_box")
                whole = whole or bool(getattr(box, "error_on_graph_break", False))
                if watcher.failed(code, error, whole=whole):
                    return _eager(give_up, whole=whole)
                raise
        if getattr(result, "guarded_code", code) is None:
            news = _unimplemented() - before
            if news:  # else there was nothing in it to compile
                watcher.skipped(code, next(iter(news)))
        return result

    return watched


def _unimplemented() -> Counter[str]:
    """What Dynamo met that it cannot compile, by its own words, since it counts."""
    counters = loaded(DYNAMO_UTILS, "counters") or {}
    return Counter(counters.get("unimplemented"))


def _eager(give_up: Callable[..., Any], *, whole: bool) -> Any:
    """Dynamo's answer "run this frame eager", and under ``fullgraph`` all that it calls."""
    strategy = loaded(CONVERT_FRAME, "FrameExecStrategy")
    action = loaded(CONVERT_FRAME, "FrameAction")
    if whole and strategy is not None and action is not None:
        return give_up(frame_exec_strategy=strategy(action.SKIP, action.SKIP))
    return give_up()


def is_soft(error: BaseException) -> bool:
    """Whether Dynamo itself answers this error by running the frame eager, but under fullgraph."""
    return isinstance(error, _classes(_SOFT))


def is_recompile_limit(error: BaseException) -> bool:
    """Whether the error is a recompile limit that was reached."""
    return isinstance(error, _classes(_LIMITS)) or str(error).startswith(_LIMIT_SAID)


def is_backend_failure(error: BaseException) -> bool:
    """Whether a backend failed, not Dynamo."""
    return isinstance(error, _classes(("BackendCompilerFailed",)))


def is_breakdown(error: BaseException) -> bool:
    """Whether Dynamo itself failed, and not at something that it says that it cannot do."""
    return isinstance(error, _classes(("InternalTorchDynamoError",)))


def is_observed(error: BaseException) -> bool:
    """Whether Dynamo saw the user's own code raise."""
    return isinstance(error.__cause__, _classes(("ObservedException",))) or str(error).startswith(
        "Observed exception"
    )


def users_place(error: BaseException) -> str:
    """Where in the user's source it happened, by Dynamo's account, or empty."""
    stack = getattr(error, "real_stack", None) or getattr(error, "user_stack", None)
    return frame_place(stack)


def frame_place(stack: Any) -> str:
    """The innermost frame of a stack summary, as a person would name it, or empty."""
    if not stack:
        return ""
    frame = stack[-1]
    return f"{frame.name} ({frame.filename}:{frame.lineno})"


def _classes(names: tuple[str, ...]) -> tuple[type[BaseException], ...]:
    found = (loaded(_EXC, name) for name in names)
    return tuple(each for each in found if isinstance(each, type))


def forget_code(code: CodeType) -> None:
    """Forget what Dynamo decided on a function, so that it is asked anew."""
    forget = loaded("torch._dynamo.eval_frame", "remove_from_cache")
    if forget is not None:
        forget(code)


def count_compiled_frames() -> Callable[[], int] | None:
    """Begin to count the compiled frames that a ``fullgraph`` call runs.

    Torch (2.9 and later) counts them as well and raises after the call where there
    are none, when the function has run and its result is lost; while ours is
    begun, it leaves the count to us.

    Returns:
        How to end it, which gives the count; None where this torch does not count.
    """
    set_count = loaded("torch._C._dynamo.eval_frame", "set_fullgraph_compiled_frame_count")
    if set_count is None or set_count(0) >= 0:  # nested: the outer call counts
        return None
    return lambda: int(set_count(-1))
