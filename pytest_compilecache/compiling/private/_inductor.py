"""How Inductor is asked to compile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_compilecache.compiling.private._names import loaded


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


def compile_graph(
    graph: Any,
    inputs: Any,
    *,
    config: Mapping[str, Any],
    guard: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Any:
    """Compile a graph with Inductor, with ``guard`` around its innermost compiler."""
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner  # noqa: PLC0415

    return compile_fx(
        graph, inputs, inner_compile=guard(compile_fx_inner), config_patches=dict(config) or None
    )


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
