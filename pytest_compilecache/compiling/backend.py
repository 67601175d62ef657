"""A backend that falls back to eager per graph, at compile time only, and says so.

Nothing here runs a user's code a second time: what fails to compile has not
run, so state changes once. Errors of the user's own forward never pass here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import CompileEvent, EventSink
from pytest_compilecache.compiling.options import CompileOptions


@dataclass(frozen=True, eq=False, slots=True)
class FallbackBackend:
    """Inductor, with eager execution of the graphs that it cannot compile.

    Two backends with equal settings are equal: Dynamo compiles a function again
    for every backend that differs, and past its limit not at all.
    """

    config: dict[str, Any]
    sink: EventSink = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FallbackBackend) and self.config == other.config

    def __hash__(self) -> int:
        return hash(type(self).__qualname__)

    def __call__(self, graph: Any, inputs: Any, **_: Any) -> Any:
        """Compile a graph; called by Dynamo."""
        try:
            return private.compile_graph(graph, inputs, config=self.config, guard=self._guard)
        except Exception as error:
            if _must_pass(error):
                raise
            self._note(error)
            graph.recompile()
            return graph.forward

    def _guard(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def compile_or_fall_back(graph: Any, inputs: Any, **kwargs: Any) -> Any:
            try:
                return inner(graph, inputs, **kwargs)
            except Exception as error:
                if _must_pass(error):
                    raise
                self._note(error)
                return private.boxed(graph.forward)

        return compile_or_fall_back

    def _note(self, error: Exception) -> None:
        self.sink.add(CompileEvent("fallback", reason=one_line(error)))


@dataclass(frozen=True, eq=False, slots=True)
class ForeignBackend:
    """Another backend than Inductor, with eager execution of what it cannot compile."""

    backend: str | Callable[..., Any]
    keywords: dict[str, Any]
    sink: EventSink = field(repr=False)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ForeignBackend)
            and self.backend == other.backend
            and self.keywords == other.keywords
        )

    def __hash__(self) -> int:
        return hash(type(self).__qualname__)

    def __call__(self, graph: Any, inputs: Any, **_: Any) -> Any:
        """Compile a graph; called by Dynamo."""
        import torch  # noqa: PLC0415  (whoever compiles has it loaded)

        compiler = torch._dynamo.lookup_backend(self.backend)  # noqa: SLF001  (documented)
        try:
            return compiler(graph, inputs, **self.keywords)
        except Exception as error:
            if _must_pass(error):
                raise
            self.sink.add(CompileEvent("fallback", reason=one_line(error)))
            return graph.forward


def compile_function(target: Any, options: CompileOptions, sink: EventSink) -> Any:
    """Compile a model or a function, falling back to eager per graph.

    Args:
        target: A module or a function.
        options: How to compile it.
        sink: Where fallbacks are reported.

    Raises:
        RuntimeError: Torch knows no such mode, option or backend.
    """
    import torch  # noqa: PLC0415  (the first call may be the one that loads it)

    # Dynamo's option among Inductor's: torch.compile takes it out before the backend.
    rest = dict(options.options or {})
    guards = {name: rest.pop(name) for name in ("guard_filter_fn",) if name in rest}
    return torch.compile(
        target,
        backend=_backend(replace(options, options=rest or None), sink),
        fullgraph=options.fullgraph,
        dynamic=options.dynamic,
        options=guards or None,
    )


def _backend(options: CompileOptions, sink: EventSink) -> FallbackBackend | ForeignBackend:
    if options.backend == "inductor":
        config = private.inductor_config(options.mode, options.options, options.dynamic)
        return FallbackBackend(config, sink)
    import torch  # noqa: PLC0415

    torch._dynamo.lookup_backend(options.backend)  # noqa: SLF001  (an unknown name fails here)
    keywords = {"mode": options.mode, "options": options.options}
    return ForeignBackend(
        options.backend, {key: value for key, value in keywords.items() if value}, sink
    )


def one_line(error: BaseException) -> str:
    """What an error says, on one line and not too long."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _must_pass(error: Exception) -> bool:
    """Whether the error is no failure to compile.

    Memory that ran out, an alarm that a test set, a warning that the user made
    an error of, or Dynamo talking to itself; also where torch wrapped it.
    """
    import torch  # noqa: PLC0415

    passing = (MemoryError, torch.OutOfMemoryError, Warning, *private.control_flow_errors())
    for each in (error, error.__cause__, getattr(error, "inner_exception", None)):
        # filelock's Timeout is one as well: of a lock of torch's own.
        alarm = isinstance(each, TimeoutError) and type(each).__module__ == "builtins"
        if alarm or isinstance(each, passing):
            return True
    return False
