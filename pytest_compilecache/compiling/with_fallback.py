"""``compile_with_fallback``: torch.compile for a server, which must answer either way."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.announcing import Announcer
from pytest_compilecache.compiling.backend import GraphCompiler
from pytest_compilecache.compiling.compiler import Compiler
from pytest_compilecache.compiling.events import CompileEvent, EventSink
from pytest_compilecache.compiling.failures import Failure, Fallbacks
from pytest_compilecache.compiling.frames import Frames
from pytest_compilecache.compiling.limits import LimitWatch
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.compiling.repair import Repair
from pytest_compilecache.compiling.toolchain import Toolchain
from pytest_compilecache.imports import ImportWatch

LOGGER = logging.getLogger("pytest_compilecache")

Target = TypeVar("Target", bound=Callable[..., Any])


def compile_with_fallback(
    model_or_function: Target,
    *,
    fallback: Literal["eager", "fail"] = "eager",
    on_fallback: Callable[[Failure], None] | None = None,
    **torch_compile_kwargs: Any,
) -> Target:
    """Compile; what does not compile runs eager, graph by graph, and is told.

    ``torch.compile`` is lazy: its errors come at the first call, or at the first
    backward pass. They are met there, at compile time only, so that nothing
    runs twice; errors of the model itself arrive unchanged. Memory that ran out,
    alarms and interrupts pass through. What runs eager without an error is told as well,
    whatever ``fallback`` says: a function past Dynamo's recompile limit, or one that Dynamo
    skips, or all of it where compiling is turned off.

    Args:
        model_or_function: What to compile.
        fallback: ``"eager"``, or ``"fail"`` to raise what torch raises.
        on_fallback: Called once with each failure (``reason``, ``function``, ``error``),
            in the thread of the call that met it; ``error`` is None where nothing was
            raised. Without it, a warning is logged to the logger ``pytest_compilecache``.
            What it raises goes to that caller, mostly as the cause of an error of torch's.
        **torch_compile_kwargs: ``torch.compile``'s own arguments, or ``CompileOptions``' further
            ones. With ``fullgraph=True``, a model that is not one graph runs eager as well.

    Returns:
        A module for a module, a function for a function.

    Raises:
        ValueError: An argument of ours is wrong.
        RuntimeError: Torch knows no such mode, option or backend.

    Example:
        >>> model = compile_with_fallback(model, mode="reduce-overhead")
    """
    if fallback not in ("eager", "fail"):
        raise ValueError(f"fallback={fallback!r} cannot be used (use 'eager' or 'fail')")
    if on_fallback is not None and not callable(on_fallback):
        raise ValueError(f"on_fallback={on_fallback!r} cannot be called (give a function)")
    options = _options(torch_compile_kwargs)
    compiler = _compiler(fallback, on_fallback)
    compiled: Target = compiler.compile(model_or_function, options)
    return compiled


def _options(keywords: dict[str, Any]) -> CompileOptions:
    return CompileOptions.from_mapping(keywords, "compile_with_fallback")


def _compiler(fallback: str, on_fallback: Callable[[Failure], None] | None) -> Compiler:
    frames, toolchain = _watched_process()
    announcer = Announcer()
    identity = (fallback, on_fallback)
    rule = _refuse if fallback == "fail" else on_fallback or _log
    fallbacks = Fallbacks(announcer, rule, toolchain.diagnose, identity)
    repair = Repair(announcer, _set_aside)
    graphs = GraphCompiler(fallbacks, frames.current, repair)
    return Compiler(graphs, frames, announcer, on_fallback or _log_eager)


@functools.cache
def _watched_process() -> tuple[Frames, Toolchain]:
    """Watch Dynamo and the compilers of this process; its every caller shares that."""
    # Nobody here keeps count of what Dynamo skips; each call is told of its own.
    frames, toolchain = Frames(_Deaf(), remember=False), Toolchain()
    watch = ImportWatch()
    # A server's first call here is what loads Dynamo: there is nothing to watch before.
    watch.after(private.CONVERT_FRAME, lambda: _keep(private.watch_frames(frames)))
    watch.after(private.CONVERT_FRAME, LimitWatch(frames.left_eager).attach)
    watch.after(private.CPP_BUILDER, lambda: _keep(private.bound_compilers(toolchain.patience)))
    return frames, toolchain


def _keep(_: private.Undo | None) -> None:
    """Nobody ends the watch of a process."""


class _Deaf(EventSink):
    """Keeps no events: a server would gather them for ever."""

    def add(self, event: CompileEvent) -> None:
        """Forget the event."""


def _refuse(failure: Failure) -> None:
    raise failure.error or RuntimeError(str(failure))


def _log(failure: Failure) -> None:
    LOGGER.warning("did not compile and runs eager: %s", failure)


def _log_eager(failure: Failure) -> None:
    LOGGER.warning("runs eager: %s", failure)


def _set_aside(library: Path) -> bool:
    """Rename a library that does not load, so that torch builds it anew."""
    try:
        library.rename(library.with_name(f".{library.name}.unloadable"))
    except OSError:
        return False
    return True
