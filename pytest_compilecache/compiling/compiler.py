"""torch.compile with fallback: for a test session, or for one caller in a server."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.backend import FallbackBackend, ForeignBackend, GraphCompiler
from pytest_compilecache.compiling.events import CompileEvent
from pytest_compilecache.compiling.failures import EventListener, Failure, Rule, allow
from pytest_compilecache.compiling.frames import Call, Frames
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.compiling.preparing import compile_prepared
from pytest_compilecache.errors import CompileOptionError

_NOT_ENABLED = "its options say enabled=False"
_TURNED_OFF = "compiling is turned off, as by TORCH_COMPILE_DISABLE"


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles models and functions; what does not compile runs eager and is told.

    Attributes:
        graphs: Compiles graphs.
        frames: Watches Dynamo.
        listener: Takes events.
        eager: Told of what runs eager without having failed: compiling is turned off, or
            Dynamo gives up on a function by its own decision. Nobody is asked, and a
            listener of Dynamo's events hears of it without us.
    """

    graphs: GraphCompiler
    frames: Frames
    listener: EventListener
    eager: Rule = allow

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
        if private.is_wrapper(compiled) and compiled is not target:
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
        if compiled is target or private.dynamo_setting("disable"):
            self.eager(Failure(_TURNED_OFF, name_of(target)))
        if compiled is target:
            return target
        return self._watched(compiled, whole=options.fullgraph)

    def _backend(self, options: CompileOptions) -> FallbackBackend | ForeignBackend:
        if options.backend == "inductor":
            config = private.inductor_config(options.mode, options.options, options.dynamic)
            return FallbackBackend(config, self.graphs, options.sdpa)
        private.lookup_backend(options.backend)  # an unknown name fails here
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
        @functools.wraps(function)  # and with what tells Dynamo to look through it
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.frames.call(whole=whole) as made:
                end = private.count_compiled_frames() if whole else None
                count = -1
                try:
                    # A user's own exception leaves here; what Dynamo made of it is no news.
                    result = function(*args, **kwargs)
                finally:
                    if end is not None:
                        count = end()
            self._settle(made, nothing_compiled=count == 0)
            return result

        private.mark_wrapper(call)
        return call

    def _settle(self, call: Call, *, nothing_compiled: bool) -> None:
        """Tell what Dynamo could not compile, now that the call has returned."""
        if nothing_compiled and not call.failures and private.current_stance() == "default":
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
            self.graphs.fallbacks.tell(failure)


def _reduced(target: Any, options: CompileOptions, _protocol: int) -> tuple[Any, ...]:
    """How to pickle: what is loaded in another process compiles there, as a server's does."""
    return _compiled_elsewhere, (target, options)


def _compiled_elsewhere(target: Any, options: CompileOptions) -> Any:
    from pytest_compilecache.compiling.with_fallback import compile_with_fallback  # noqa: PLC0415

    given = {item.name: getattr(options, item.name) for item in fields(options)}
    return compile_with_fallback(target, **given)


def name_of(target: Any) -> str:
    """A model or function as a person would name it."""
    return str(getattr(target, "__qualname__", type(target).__qualname__))
