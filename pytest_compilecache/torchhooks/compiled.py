"""What torch.compile made of a model or function, and what it was before."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

# The name under which what torch.compile wraps a module in holds that module.
WRAPPED = "_orig_mod"


def original_of(compiled: Any) -> Any:
    """The module or function that ``torch.compile`` was given, or None where it made none."""
    if is_wrapper(compiled):
        return getattr(compiled, WRAPPED)
    return getattr(compiled, "_torchdynamo_orig_callable", None)


def is_wrapper(compiled: Any) -> bool:
    """Whether it is what ``torch.compile`` wraps a module in."""
    return WRAPPED in getattr(compiled, "_modules", ())


def mark_wrapper(function: Any) -> None:
    """Let torch look through a function that wraps one that it compiled, as through its own."""
    if hasattr(function, "_torchdynamo_wrapper_id"):
        function._torchdynamo_wrapper_id = id(function)  # noqa: SLF001


def compiles_itself(module: Any) -> bool:
    """Whether ``Module.compile`` was called on the module."""
    return getattr(module, "_compiled_call_impl", None) is not None


def is_dynamos(error: Exception) -> bool:
    """Whether Dynamo raised the error, which it also does in place of an error of the code."""
    return type(error).__module__ == "torch._dynamo.exc"


def base_of(tensor: Any) -> Any:
    """The tensor that a tensor is a view of, or None."""
    return getattr(tensor, "_base", None)


def pytree_children(value: Any) -> list[Any] | None:
    """The parts of an object of a type that is registered as a pytree, or None."""
    nodes = getattr(sys.modules.get("torch.utils._pytree"), "SUPPORTED_NODES", {})
    node = nodes.get(type(value))
    return None if node is None else list(node.flatten_fn(value)[0])


@contextlib.contextmanager
def eager_random_numbers() -> Iterator[None]:
    """Let Inductor draw the random numbers that eager draws in what it compiles meanwhile."""
    from torch._inductor import config  # noqa: PLC0415

    with config.patch(fallback_random=True):
        yield


def draws_eager_random_numbers() -> bool:
    """Whether Inductor is to draw the random numbers that eager draws."""
    config = sys.modules.get("torch._inductor.config")
    return bool(getattr(config, "fallback_random", False))


def mode_options(mode: str | None) -> dict[str, Any]:
    """Inductor's options that a mode stands for."""
    import torch  # noqa: PLC0415  (loaded already wherever something is compiled)

    if mode is None:
        return {}
    return dict(torch._inductor.list_mode_options(mode))  # noqa: SLF001  (documented)
