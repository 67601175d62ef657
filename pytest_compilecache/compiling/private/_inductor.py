"""How Inductor is asked to compile."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pytest_compilecache.compiling.private._names import Undo, loaded

Guard = Callable[[Callable[..., Any]], Callable[..., Any]]


def inductor_config(
    mode: str | None, options: Mapping[str, Any] | None, dynamic: bool | None
) -> dict[str, Any]:
    """Inductor's settings for a mode and options, checked as ``torch.compile`` checks them.

    Raises:
        RuntimeError: An option is unknown or of the wrong type.
    """
    import torch  # noqa: PLC0415  (whoever compiles has it loaded)

    wrapper = torch._TorchCompileInductorWrapper(  # noqa: SLF001
        mode, dict(options) if options else None, dynamic
    )
    return dict(wrapper.config)


def load_inductor() -> Any:
    """Load Inductor, whose own imports warn of what torch deprecates.

    Where a test makes errors of warnings, one would stop the import in the middle, at
    each graph anew.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch._inductor import compile_fx  # noqa: PLC0415
    return compile_fx


def compile_graph(
    graph: Any, inputs: Any, *, config: Mapping[str, Any], guard: Guard, **keywords: Any
) -> Any:
    """Compile a graph with Inductor, with ``guard`` around its innermost compiler."""
    inductor = load_inductor()
    return inductor.compile_fx(
        graph,
        inputs,
        inner_compile=guard(inductor.compile_fx_inner),
        config_patches=dict(config) or None,
        **keywords,
    )


def guard_plain_compiles(
    compile_guarded: Callable[..., Any], asked: Callable[[], bool]
) -> Undo | None:
    """Compile the graphs of plain ``torch.compile`` calls by a function of ours.

    It stands where torch calls Inductor, so that torch still checks all arguments,
    and its backends stay equal to each other as they are.

    Args:
        compile_guarded: Takes a graph and its inputs, ``config`` and ``compile_fx``'s
            other keywords.
        asked: Whether a person asked for it; otherwise the call is torch's alone.

    Returns:
        How to undo it, or None where this torch offers no place for it.
    """
    wrapper = loaded("torch", "_TorchCompileInductorWrapper")
    original = vars(wrapper).get("__call__") if wrapper is not None else None
    if original is None or not hasattr(wrapper, "apply_options"):
        return None
    takes_patches = "config_patches" in inspect.signature(original).parameters

    @functools.wraps(original)
    def guarded(self: Any, graph: Any, inputs: Any, **patches: Any) -> Any:
        if not asked():
            return original(self, graph, inputs, **patches)
        if type(self) is not wrapper:  # ahead of time: it makes no code that we could guard
            return original(self, graph, inputs, **patches)
        config = {**self.config, **(patches.get("config_patches") or {})}
        named = {"compile_region_name": self.name} if takes_patches and self.name else {}
        return compile_guarded(graph, inputs, config=config, **named)

    wrapper.__call__ = guarded

    def undo() -> None:
        wrapper.__call__ = original

    return undo


def reset_backend(config: Mapping[str, Any]) -> None:
    """What torch's own backend does at ``torch._dynamo.reset()``: let CUDA graphs go."""
    wrapper = loaded("torch", "_TorchCompileInductorWrapper")
    if wrapper is not None and "triton.cudagraphs" in config:
        backend = wrapper(None, None, None)
        backend.config = dict(config)
        backend.reset()


def lookup_backend(backend: str | Callable[..., Any]) -> Callable[..., Any]:
    """A backend by its name.

    Raises:
        RuntimeError: Torch knows no backend of that name (``InvalidBackend``).
    """
    import torch  # noqa: PLC0415

    found: Callable[..., Any] = torch._dynamo.lookup_backend(backend)  # noqa: SLF001
    return found


def boxed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function AOTAutograd's calling convention: one list of arguments."""
    from functorch.compile import make_boxed_func  # noqa: PLC0415

    wrapped: Callable[..., Any] = make_boxed_func(function)
    return wrapped


def control_flow_errors() -> tuple[type[BaseException], ...]:
    """Exceptions by which Dynamo and its backends talk to each other."""
    names = (
        "SkipFrame",
        "RestartAnalysis",
        "TensorifyScalarRestartAnalysis",
        "UnspecializeRestartAnalysis",
    )
    found = (loaded("torch._dynamo.exc", name) for name in names)
    return tuple(error for error in found if error is not None)
