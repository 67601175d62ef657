"""Computes a call once more in float64, to tell whose rounding is the better one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_compilecache.compiling.comparing import Difference, dense, largest
from pytest_compilecache.compiling.copying import WIDE
from pytest_compilecache.compiling.running import Call, Run
from pytest_compilecache.compiling.state import SavedState

_NARROWING = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)


class _Float64(TorchFunctionMode):  # type: ignore[misc]
    """Computes in float64 also where code names a narrower type.

    Many models round on purpose, such as a norm that works in float32 whatever
    it is given; a reference that did so too would be no better than what it judges.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        wide = {name: _widened(value) for name, value in (kwargs or {}).items()}
        function = torch.Tensor.double if func in _NARROWING else func
        return function(*map(_widened, args), **wide)


def nearer_to_float64(
    difference: Difference, call: Call, eager: Callable[..., Any], *, drew: bool
) -> str:
    """Whether compiled or eager is nearer to what float64 gives, on one line.

    Args:
        difference: Where they differ.
        call: The call, whose state is at its start.
        eager: The eager function.
        drew: Whether it draws random numbers.

    Returns:
        The line; empty where no floating-point values differ, or where those of float64 do.
    """
    one, other = difference.eager, difference.compiled
    if one is None or other is None or one.dtype not in WIDE:
        return ""
    if drew:
        return "not recomputed in float64, for which torch draws other random numbers"
    found = _reference(difference.path, one, _run_wide(call, eager))
    if isinstance(found, str):
        return f"not recomputed in float64: {found}"
    errors = {
        "eager": largest((one.to(found.dtype) - found).abs()),
        "compiled": largest((other.to(found.dtype) - found).abs()),
    }
    best, worst = sorted(errors, key=lambda name: errors[name])
    if errors[best] == errors[worst]:
        return f"both are as near to float64 (max abs error {errors[best]:.3g})"
    told = f"max abs error {errors[best]:.3g}; {worst} {errors[worst]:.3g}"
    return f"nearer to float64: {best} ({told})"


def _reference(path: str, like: torch.Tensor, run: Run) -> torch.Tensor | str:
    """What the run gave for a path, or why there is nothing to compare with."""
    if run.error is not None:
        return " ".join(f"{type(run.error).__name__}: {run.error}".split())[:200]
    found = {leaf.path: leaf.value for leaf in run.leaves}.get(path)
    if not isinstance(found, torch.Tensor) or found.shape != like.shape:
        return "the result is of another kind there"
    if found.dtype is not WIDE[like.dtype]:
        return f"the model itself computes it in {found.dtype}"
    return dense(path, found)


def _run_wide(call: Call, eager: Callable[..., Any]) -> Run:
    def run_wide(*args: Any, **kwargs: Any) -> Any:
        with _default_float64(), _Float64():
            return eager(*args, **kwargs)

    with _wide_state(call.before):
        return call.run(run_wide, wide=True)


@contextlib.contextmanager
def _wide_state(before: SavedState) -> Iterator[None]:
    """Let the state's tensors hold float64, in the objects that closures know as well."""
    narrow = [saved for saved in before.tensors.values() if saved.value.dtype in WIDE]
    kept = [(saved.tensor, saved.tensor.data, saved.gradient) for saved in narrow]
    try:
        for saved in narrow:
            saved.tensor.grad = None
            saved.tensor.data = saved.value.to(WIDE[saved.value.dtype])
        yield
    finally:
        for tensor, data, gradient in kept:
            tensor.grad = None
            tensor.data = data
            tensor.grad = gradient


@contextlib.contextmanager
def _default_float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _widened(value: Any) -> Any:
    return WIDE.get(value, value) if isinstance(value, torch.dtype) else value
