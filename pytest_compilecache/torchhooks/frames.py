"""What Dynamo does with each frame that it is asked to compile."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import CodeType
from typing import Any, Protocol

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.names import CONVERT_FRAME, DYNAMO_UTILS, loaded

_SOFT = ("Unsupported", "UserError")
_LIMITS = ("RecompileLimitExceeded", "FailOnRecompileLimitHit")
_LIMIT_SAID = "Dynamo recompile limit exceeded"  # 2.13: an Unsupported like others
# Raised where a setting of torch's asks for it, never otherwise.
_ASKED = ("RecompileError", "FailOnRecompileLimitHit")
_EXC = "torch._dynamo.exc"


class FrameWatcher(Protocol):
    """Learns what becomes of frames. Its methods must not raise, but ``failed``."""

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


def watch_frames(patches: Patches, watcher: FrameWatcher) -> bool:
    """Tell a watcher of every frame, and let it turn failures into eager execution.

    It wraps the innermost function that compiles a frame, and none above: Dynamo
    looks through its own stack frames there, and would stumble over ours.

    Returns:
        Whether this torch has a place for it.
    """
    give_up = loaded(CONVERT_FRAME, "ConvertFrameReturn")
    original = loaded(CONVERT_FRAME, "_compile")
    if give_up is None or original is None:
        return False
    parameters = list(inspect.signature(original).parameters)
    if not {"code", "one_graph", "export"} <= set(parameters):
        return False
    positions = {name: number for number, name in enumerate(parameters)}
    module = sys.modules[CONVERT_FRAME]
    return patches.wrap(
        module, "_compile", lambda below: _watched(below, watcher, give_up, positions)
    )


def _watched(
    original: Callable[..., Any],
    watcher: FrameWatcher,
    give_up: Callable[..., Any],
    positions: dict[str, int],
) -> Callable[..., Any]:
    code_at, whole_at, export_at = (positions[name] for name in ("code", "one_graph", "export"))

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if len(args) <= max(code_at, whole_at, export_at) or args[export_at]:
            return original(*args, **kwargs)
        if "skip" in kwargs:  # how many stack frames lie between: one more
            kwargs["skip"] += 1
        code, whole = args[code_at], bool(args[whole_at])
        before = _unimplemented()
        with watcher.compiling(code, whole=whole):
            try:
                result = original(*args, **kwargs)
            except Exception as error:
                # Also within torch._dynamo.error_on_graph_break, where torch raises as well.
                box = kwargs.get("convert_frame_box")
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


def is_asked_for(error: BaseException) -> bool:
    """Whether a person set torch to raise this error (``error_on_recompile`` and the like)."""
    return isinstance(error, _classes(_ASKED))


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
    """The innermost frame of a stack summary that is the user's, or empty."""
    for frame in reversed(stack or ()):
        if not is_foreign(frame.filename):
            return f"{frame.name} ({frame.filename}:{frame.lineno})"
    return ""


def is_foreign(filename: str) -> bool:
    """Whether a source file is torch's, pytest's or ours: a user looks for nothing there."""
    return filename.startswith(_foreign_folders())


@functools.cache
def _foreign_folders() -> tuple[str, ...]:
    packages = ("torch", "functorch", "_pytest", "pluggy", "hypothesis", "pytest_compilecache")
    files = (getattr(sys.modules.get(package), "__file__", None) for package in packages)
    return tuple(os.path.join(os.path.dirname(file), "") for file in files if file)  # noqa: PTH118, PTH120


def _classes(names: tuple[str, ...]) -> tuple[type[BaseException], ...]:
    found = (loaded(_EXC, name) for name in names)
    return tuple(each for each in found if isinstance(each, type))


def forget_code(code: CodeType) -> None:
    """Forget what Dynamo decided on a function, so that it is asked anew."""
    forget = loaded("torch._dynamo.eval_frame", "remove_from_cache")
    if forget is not None:
        forget(code)


def keep_out(code: CodeType) -> None:
    """Let Dynamo look neither at a function of ours nor at what that calls.

    An audit hook runs in the middle of compiled code, where Dynamo looks at every frame and
    counts it as the user's.
    """
    put = loaded("torch._C._dynamo.eval_frame", "set_code_exec_strategy")
    strategy = loaded(CONVERT_FRAME, "FrameExecStrategy")
    action = loaded(CONVERT_FRAME, "FrameAction")
    if put is not None and strategy is not None and action is not None:
        put(code, strategy(action.SKIP, action.SKIP))


def reset_dynamo() -> None:
    """Forget all compiled code of this process."""
    reset = loaded("torch._dynamo", "reset")
    if reset is not None:
        reset()


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


def watch_calls(patches: Patches, called: Callable[[CodeType], object]) -> bool:
    """Tell of each call of a function that ``torch.compile`` made, by the function's code.

    It stands where torch looks up its stance, at each call.

    Returns:
        Whether this torch has a place for it.
    """
    module = sys.modules.get("torch._dynamo.eval_frame")

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def noting(callback: Any) -> Any:
            asks = sys._getframe(1)  # noqa: SLF001
            if asks.f_code.co_name == "compile_wrapper":
                code = getattr(asks.f_locals.get("fn"), "__code__", None)
                if code is not None:
                    called(code)
            return original(callback)

        return noting

    return patches.wrap(module, "_callback_from_stance", make)
