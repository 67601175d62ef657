"""Backends that fall back to eager per graph, at compile time only, and say so.

Nothing here runs a user's code a second time: what fails to compile has not
run, so state changes once. Errors of the user's own forward never pass here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pytest_compilecache.compiling.failures import Fallbacks, must_pass
from pytest_compilecache.torchhooks import inductor


def _no_place() -> str:
    return ""


def _no_repair(_: BaseException) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class GraphCompiler:
    """Compiles graphs, and runs those eager that do not compile.

    Attributes:
        fallbacks: Where failures are reported and judged.
        function: Which function is being compiled.
        repair: Makes room for a cached library that does not load; says whether
            there was one, so that compiling is worth another try.
        bounded: In force while a graph compiles.
        fell_back: Called when what is being compiled will run eager.
    """

    fallbacks: Fallbacks
    function: Callable[[], str] = _no_place
    repair: Callable[[BaseException], bool] = _no_repair
    bounded: Callable[[], AbstractContextManager[object]] = nullcontext
    fell_back: Callable[[], object] = _no_place

    def compile(
        self, graph: Any, inputs: Any, *, config: Mapping[str, Any], **keywords: Any
    ) -> Any:
        """Compile a graph with Inductor."""
        attempt = _Attempt(self)

        def compile_it() -> Any:
            return inductor.compile_graph(
                graph, inputs, config=config, guard=attempt.guard, **keywords
            )

        return attempt.compile(compile_it, graph)

    def compile_by(self, compile_it: Callable[[], Any], graph: Any) -> Any:
        """Compile a graph by another backend."""
        return _Attempt(self).compile(compile_it, graph)


@dataclass(slots=True)
class _Attempt:
    """To compile one graph and the backward that may come of it."""

    _compiler: GraphCompiler
    _refused: bool = False
    _function: str = ""

    def compile(self, compile_it: Callable[[], Any], graph: Any) -> Any:
        """Compile, or hand back what runs the graph eager."""
        self._function = self._compiler.function()  # at the backward, it is not known
        try:
            with self._compiler.bounded():
                return compile_it()
        except Exception as error:
            # What was refused inside arrives here as well; it is reported already.
            if self._refused or must_pass(error):
                raise
            eager = self._fall_back(error, graph)
            graph.recompile()
            return eager

    def guard(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """Inductor's innermost compiler, which gets a graph forward or, later, backward."""

        def compile_or_fall_back(graph: Any, inputs: Any, **kwargs: Any) -> Any:
            try:
                return self._try(inner, graph, inputs, **kwargs)
            except Exception as error:
                if must_pass(error):
                    raise
                return inductor.boxed(self._fall_back(error, graph))

        return compile_or_fall_back

    def _try(self, inner: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._compiler.bounded():  # a backward is compiled later than its forward
            try:
                return inner(*args, **kwargs)
            except Exception as error:
                if must_pass(error) or not self._compiler.repair(error):
                    raise
            return inner(*args, **kwargs)

    def _fall_back(self, error: Exception, graph: Any) -> Callable[..., Any]:
        fallbacks = self._compiler.fallbacks
        try:
            failure = fallbacks.failed(error, self._function)
        except BaseException:
            self._refused = True
            raise
        self._compiler.fell_back()
        return fallbacks.reporting(failure, graph.forward)


@dataclass(frozen=True, eq=False, slots=True)
class FallbackBackend:
    """Inductor, with eager execution of the graphs that it cannot compile.

    Two backends with equal settings are equal: Dynamo compiles a function again
    for every backend that differs, and past its limit not at all.

    Attributes:
        config: Inductor's settings.
        graphs: Compiles the graphs.
        variant: What else the code depends on, which Dynamo does not know, such as
            the attention kernels that were chosen.
    """

    # Torch treats backends of its own by the first name, and calls them by the other.
    compiler_name: ClassVar[str] = "inductor"
    __name__: ClassVar[str] = "inductor"

    config: dict[str, Any]
    graphs: GraphCompiler = field(repr=False)
    variant: object = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FallbackBackend)
            and self.config == other.config
            and self.variant == other.variant
            and self.graphs.fallbacks.identity == other.graphs.fallbacks.identity
        )

    def __hash__(self) -> int:
        return hash(type(self).__qualname__)

    def __call__(self, graph: Any, inputs: Any, **_: Any) -> Any:
        """Compile a graph; called by Dynamo."""
        return self.graphs.compile(graph, inputs, config=self.config)

    def reset(self) -> None:
        """Let go of what was compiled; called by ``torch._dynamo.reset()``."""
        inductor.reset_backend(self.config)


@dataclass(frozen=True, eq=False, slots=True)
class ForeignBackend:
    """Another backend than Inductor, with eager execution of what it cannot compile."""

    backend: str | Callable[..., Any]
    keywords: dict[str, Any]
    graphs: GraphCompiler = field(repr=False)
    variant: object = None

    @property
    def __name__(self) -> str:
        """What torch calls it in its errors."""
        backend = self.backend
        return backend if isinstance(backend, str) else getattr(backend, "__name__", repr(backend))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ForeignBackend)
            and self.backend == other.backend
            and self.keywords == other.keywords
            and self.variant == other.variant
            and self.graphs.fallbacks.identity == other.graphs.fallbacks.identity
        )

    def __hash__(self) -> int:
        return hash(type(self).__qualname__)

    def __call__(self, graph: Any, inputs: Any, **_: Any) -> Any:
        """Compile a graph; called by Dynamo."""
        compiler = inductor.lookup_backend(self.backend)
        return self.graphs.compile_by(lambda: compiler(graph, inputs, **self.keywords), graph)

    def reset(self) -> None:
        """Let go of what was compiled; called by ``torch._dynamo.reset()``."""
        reset = getattr(inductor.lookup_backend(self.backend), "reset", None)
        if reset is not None:
            reset()
