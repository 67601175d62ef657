"""How Inductor is asked to compile."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.names import AUTOGRAD_CACHE, CODECACHE, loaded

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


def guard_plain_compiles(patches: Patches, compile_guarded: Callable[..., Any]) -> bool:
    """Compile the graphs of plain ``torch.compile`` calls by a function of ours.

    It stands where torch calls Inductor, so that torch still checks all arguments,
    and its backends stay equal to each other as they are.

    Args:
        patches: Undoes it.
        compile_guarded: Takes a graph and its inputs, ``config`` and ``compile_fx``'s
            other keywords.

    Returns:
        Whether this torch has a place for it.
    """
    wrapper = loaded("torch", "_TorchCompileInductorWrapper")
    if not hasattr(wrapper, "apply_options"):
        return False

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        takes_patches = "config_patches" in inspect.signature(original).parameters

        @functools.wraps(original)
        def guarded(self: Any, graph: Any, inputs: Any, **patched: Any) -> Any:
            if type(self) is not wrapper:  # ahead of time: it makes no code that we could guard
                return original(self, graph, inputs, **patched)
            config = {**self.config, **(patched.get("config_patches") or {})}
            named = {"compile_region_name": self.name} if takes_patches and self.name else {}
            return compile_guarded(graph, inputs, config=config, **named)

        return guarded

    return patches.wrap(wrapper, "__call__", make)


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


def bypass_errors() -> tuple[type[BaseException], ...]:
    """What torch raises instead of bypassing a cache, where a strict setting asks for it."""
    names = ((CODECACHE, "BypassFxGraphCache"), (AUTOGRAD_CACHE, "BypassAOTAutogradCache"))
    found = (loaded(module, name) for module, name in names)
    return tuple(error for error in found if error is not None)


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
