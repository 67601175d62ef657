"""torch.compile with fallback: for a test session, or for one caller in a server."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pytest_compilecache.compiling.events import CompileEvent
from pytest_compilecache.compiling.failures import (
    EventListener,
    Failure,
    Fallbacks,
    Rule,
    allow,
)
from pytest_compilecache.compiling.fallback import FallbackBackend, ForeignBackend, GraphCompiler
from pytest_compilecache.compiling.frames import Call, Frames
from pytest_compilecache.compiling.hooks import HOOKS
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.compiling.preparing import compile_prepared
from pytest_compilecache.compiling.toolchain import Repair, Toolchain
from pytest_compilecache.errors import CompileOptionError
from pytest_compilecache.torchhooks import compiled as compiled_objects
from pytest_compilecache.torchhooks import frames as frame_hooks
from pytest_compilecache.torchhooks import inductor, stances
from pytest_compilecache.torchhooks.names import dynamo_setting

LOGGER = logging.getLogger("pytest_compilecache")

Target = TypeVar("Target", bound=Callable[..., Any])

_NOT_ENABLED = "its options say enabled=False"
_TURNED_OFF = "compiling is turned off, as by TORCH_COMPILE_DISABLE"


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles models and functions; what does not compile runs eager and is reported.

    Attributes:
        graphs: Compiles graphs.
        frames: Watches Dynamo.
        listener: Takes events.
        eager: Called with what runs eager without having failed: compiling is turned off,
            or Dynamo gives up on a function by its own decision.
        lenient: Whether a model that was to be one graph and is not runs eager as well.
            Otherwise torch's error arrives.
    """

    graphs: GraphCompiler
    frames: Frames
    listener: EventListener
    eager: Rule = allow
    lenient: bool = False

    def compile(self, target: Any, options: CompileOptions) -> Any:
        """Compile a model or a function.

        Args:
            target: A module or a function.
            options: How to compile it.

        Raises:
            CompileOptionError: An option does not suit the target.
            RuntimeError: Torch knows no such mode, option or backend.
        """
        if not options.enabled and not options.ipex:  # as a server's config may say
            event = CompileEvent("disabled", function=name_of(target), reason=_NOT_ENABLED)
            self.listener.add(event)
        if not callable(target):
            reason = f"{target!r} cannot be called"
            raise CompileOptionError("the target", reason, "give a model or a function")
        compiled = compile_prepared(target, options, functools.partial(self._compile, options))
        if compiled_objects.is_wrapper(compiled) and compiled is not target:
            # By itself a copy would lose what stands around its calls, and locks have none.
            vars(compiled)["__deepcopy__"] = functools.partial(self._copied, target, options)
            vars(compiled)["__reduce_ex__"] = functools.partial(_reduced, target, options)
        return compiled

    def _copied(self, target: Any, options: CompileOptions, memo: dict[int, Any]) -> Any:
        return self.compile(copy.deepcopy(target, memo), options)

    def _compile(self, options: CompileOptions, target: Any) -> Any:
        import torch  # noqa: PLC0415  (the first call may be the one that loads it)

        # Dynamo's option among Inductor's: torch.compile takes it out before the backend.
        rest = dict(options.options or {})
        guards = {name: rest.pop(name) for name in ("guard_filter_fn",) if name in rest}
        compiled = torch.compile(
            target,
            backend=self._backend(replace(options, options=rest or None)),
            fullgraph=options.fullgraph,
            dynamic=options.dynamic,
            options=guards or None,
        )
        if compiled is target or dynamo_setting("disable"):
            self.eager(Failure(_TURNED_OFF, name_of(target)))
        if compiled is target:
            return target
        return self._watched(compiled, whole=options.fullgraph)

    def _backend(self, options: CompileOptions) -> FallbackBackend | ForeignBackend:
        if options.backend == "inductor":
            config = inductor.inductor_config(options.mode, options.options, options.dynamic)
            return FallbackBackend(config, self.graphs, options.sdpa)
        inductor.lookup_backend(options.backend)  # an unknown name fails here
        keywords = {"mode": options.mode, "options": options.options}
        given = {key: value for key, value in keywords.items() if value}
        return ForeignBackend(options.backend, given, self.graphs, options.sdpa)

    def _watched(self, compiled: Any, *, whole: bool) -> Any:
        import torch  # noqa: PLC0415

        if isinstance(compiled, torch.nn.Module):
            compiled.forward = self._around(compiled.forward, whole=whole)
            return compiled
        return self._around(compiled, whole=whole)

    def _around(self, function: Callable[..., Any], *, whole: bool) -> Callable[..., Any]:
        @functools.wraps(function)  # and with what lets Dynamo look through it
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.frames.call(whole=whole, lenient=self.lenient) as made:
                end = frame_hooks.count_compiled_frames() if whole and self.lenient else None
                count = -1
                try:
                    # A user's own exception leaves here, and what torch was asked to raise.
                    result = function(*args, **kwargs)
                finally:
                    if end is not None:
                        count = end()
            self._settle(made, nothing_compiled=count == 0)
            return result

        compiled_objects.mark_wrapper(call)
        return call

    def _settle(self, call: Call, *, nothing_compiled: bool) -> None:
        """Report what Dynamo could not compile, now that the call has returned."""
        if nothing_compiled and not call.failures and stances.current_stance() == "default":
            reason = "fullgraph=True, and no frame was compiled"
            self.listener.add(CompileEvent("graph_break", reason=reason))
        for function, reason in call.left_eager:
            if not call.whole:  # of that, torch makes an error
                self.eager(Failure(reason, function))
        for error, function in call.failures:
            failure = self.graphs.fallbacks.describe(error, function, whole=call.whole)
            if call.whole:
                event = CompileEvent("graph_break", function=function, reason=failure.reason)
                self.listener.add(event)
            self.graphs.fallbacks.report(failure)


def _reduced(target: Any, options: CompileOptions, _protocol: int) -> tuple[Any, ...]:
    """How to pickle: what is loaded in another process compiles there, as a server's does."""
    return _compiled_elsewhere, (target, options)


def _compiled_elsewhere(target: Any, options: CompileOptions) -> Any:
    given = {item.name: getattr(options, item.name) for item in fields(options)}
    return compile_with_fallback(target, **given)


def name_of(target: Any) -> str:
    """A model or function as a person would name it."""
    return str(getattr(target, "__qualname__", type(target).__qualname__))


def compile_with_fallback(
    model_or_function: Target,
    *,
    fallback: Literal["eager", "fail"] = "eager",
    on_fallback: Callable[[Failure], None] | None = None,
    **torch_compile_kwargs: Any,
) -> Target:
    """Compile; what does not compile runs eager, graph by graph, and is reported.

    ``torch.compile`` is lazy: its errors come at the first call, or at the first
    backward pass. They are met there, at compile time only, so that nothing
    runs twice; errors of the model itself arrive unchanged. Memory that ran out,
    alarms and interrupts pass through. What runs eager without an error is reported as well,
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
    frames, toolchain = HOOKS.frames, _toolchain()
    HOOKS.watch_calls()  # to the end of the process: what is compiled is called until then
    identity = (fallback, on_fallback)
    rule = _refuse if fallback == "fail" else on_fallback or _log
    fallbacks = Fallbacks(HOOKS, rule, toolchain.diagnose, identity)
    repair = Repair(HOOKS, _set_aside)
    graphs = GraphCompiler(fallbacks, frames.current, repair, toolchain.bounding)
    return Compiler(graphs, frames, HOOKS, on_fallback or _log_eager, lenient=True)


@functools.cache
def _toolchain() -> Toolchain:
    """Of this process: what is known of its compilers serves all that it compiles."""
    return Toolchain()


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
