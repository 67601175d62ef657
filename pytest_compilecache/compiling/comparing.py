"""Compares what two runs left, leaf by leaf, and says in figures how they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_compilecache.compiling.structure import Leaf, says_when_equal
from pytest_compilecache.errors import NotComparableError

# The defaults that the documentation of torch.testing.assert_close lists; all
# other types must be equal. tests/unit/test_comparing.py holds them against it.
_HALF, _SINGLE, _DOUBLE = (1e-3, 1e-5), (1.3e-6, 1e-5), (1e-7, 1e-7)
_DEFAULTS = {
    torch.float16: _HALF,
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: _SINGLE,
    torch.float64: _DOUBLE,
    torch.complex32: _HALF,
    torch.complex64: _SINGLE,
    torch.complex128: _DOUBLE,
    **dict.fromkeys((torch.quint8, torch.qint8, torch.qint32), _SINGLE),
}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far compiled may be from eager: ``atol + rtol * |eager|``.

    Attributes:
        rtol: The relative part, or None for the default of a tensor's type.
        atol: The absolute part, or None for the default of a tensor's type.
        strides: Whether strides must be equal as well.
    """

    rtol: float | None = None
    atol: float | None = None
    strides: bool = False

    def of(self, dtype: torch.dtype) -> tuple[float, float]:
        """The relative and the absolute part for a type."""
        rtol, atol = _DEFAULTS.get(dtype, (0.0, 0.0))
        return (
            rtol if self.rtol is None else self.rtol,
            atol if self.atol is None else self.atol,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """A leaf that differs.

    Attributes:
        path: The leaf.
        reason: How it differs, on one or several lines.
        eager: The tensor of eager, dense, where values of two tensors differ.
        compiled: That of compiled.
    """

    path: str
    reason: str
    eager: torch.Tensor | None = None
    compiled: torch.Tensor | None = None


_MISSING = object()
_BRIEF = 80


def differences(
    eager: Sequence[Leaf], compiled: Sequence[Leaf], tolerance: Tolerance
) -> Iterator[Difference]:
    """What differs, in the order of eager's leaves, then what compiled alone has.

    Raises:
        NotComparableError: Two values do not tell whether they are equal.
    """
    found = {leaf.path: leaf.value for leaf in compiled}
    for leaf in eager:
        reason = _compare(leaf.path, leaf.value, found.pop(leaf.path, _MISSING), tolerance)
        if isinstance(reason, Difference):
            yield reason
        elif reason:
            yield Difference(leaf.path, reason)
    for path, value in found.items():
        if not _no_gradient(path, value):
            yield Difference(path, f"only compiled has it: {_brief(value)}")


def _compare(path: str, eager: Any, compiled: Any, tolerance: Tolerance) -> Difference | str:
    if _no_gradient(path, eager) and _no_gradient(path, compiled):
        return ""
    if compiled is _MISSING:
        return f"only eager has it: {_brief(eager)}"
    if isinstance(eager, torch.Tensor) and isinstance(compiled, torch.Tensor):
        return _compare_tensors(path, eager, compiled, tolerance)
    if path.startswith("output") and isinstance(eager, Iterator):
        reason = "an iterator is used up by whoever looks into it"
        raise NotComparableError(path, reason, "give a list of what it gives")
    pair = _as_tensors(eager, compiled)
    if pair is not None:
        return _compare_tensors(path, *pair, tolerance)
    if type(eager) is type(compiled) and _equal(path, eager, compiled, tolerance):
        return ""
    return f"eager gives {_brief(eager)}, compiled {_brief(compiled)}"


def _no_gradient(path: str, value: Any) -> bool:
    """Whether it is a gradient that is missing or zero: the same to whoever adds it up."""
    if not path.startswith("gradient of "):
        return False
    if isinstance(value, torch.Tensor):
        return not bool(dense(path, value).any())
    return value is None or value is _MISSING


def _compare_tensors(
    path: str, eager: torch.Tensor, compiled: torch.Tensor, tolerance: Tolerance
) -> Difference | str:
    for name, of_eager, of_compiled in _properties(eager, compiled, strides=tolerance.strides):
        if of_eager != of_compiled:
            return f"{name}: eager {_brief(of_eager)}, compiled {_brief(of_compiled)}"
    one, other = dense(path, eager), dense(path, compiled)
    allowed = tolerance.of(eager.dtype)
    unequal = _unequal(one, other, *allowed)
    if not bool(unequal.any()):
        return ""
    return Difference(path, _figures(one, other, unequal, *allowed), one, other)


def _properties(
    eager: torch.Tensor, compiled: torch.Tensor, *, strides: bool
) -> Iterator[tuple[str, Any, Any]]:
    for name in ("dtype", "shape", "device", "layout", "requires_grad"):
        yield name, getattr(eager, name), getattr(compiled, name)
    if strides and eager.layout is torch.strided:
        yield "strides", eager.stride(), compiled.stride()


def dense(path: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as one that can be computed with.

    Args:
        path: What it is called.
        tensor: Any tensor that has values.

    Raises:
        NotComparableError: It has none.
    """
    if tensor.device.type == "meta" or tensor.is_nested:
        kind = "nested" if tensor.is_nested else "meta"
        remedy = "compare by hand, or compile a function that gives dense tensors"
        raise NotComparableError(path, f"a {kind} tensor has no values to compare", remedy)
    tensor = tensor.detach()
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def _unequal(eager: torch.Tensor, compiled: torch.Tensor, rtol: float, atol: float) -> torch.Tensor:
    """Which elements differ by more than is allowed; NaN agrees with NaN."""
    if not (eager.is_floating_point() or eager.is_complex()) and not (rtol or atol):
        return eager != compiled
    one, other = _wide(eager), _wide(compiled)
    close = (one - other).abs() <= atol + rtol * one.abs()
    finite = one.isfinite() & other.isfinite()
    return ~((one == other) | (one.isnan() & other.isnan()) | (close & finite))


def _figures(
    eager: torch.Tensor, compiled: torch.Tensor, unequal: torch.Tensor, rtol: float, atol: float
) -> str:
    one, other = _wide(eager), _wide(compiled)
    place = tuple(unequal.nonzero()[0].tolist())
    distance = (one - other).abs()
    relative = distance / one.abs()
    kind = str(eager.dtype).removeprefix("torch.")
    where = f" at {place}" if place else ""
    values = f"eager {eager[place].item():.9g}, compiled {compiled[place].item():.9g}"
    rel = f"max rel error {largest(relative):.3g} (allowed: {rtol:g})"
    lines = (
        f"{int(unequal.sum())} of {unequal.numel()} elements differ",
        f"  {kind} of shape {tuple(eager.shape)}; the first{where}: {values}",
        f"  max abs error {largest(distance):.3g} (allowed: {atol:g}), {rel}",
    )
    return "\n".join(lines)


def largest(errors: torch.Tensor) -> float:
    """The largest of errors that is finite, or infinity where none is."""
    finite = errors[errors.isfinite()]
    return float(finite.max()) if finite.numel() else float("inf")


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _as_tensors(eager: Any, compiled: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """NumPy's arrays as tensors."""
    if type(eager) is not type(compiled) or type(eager).__module__ != "numpy":
        return None
    if not hasattr(eager, "dtype") or eager.dtype.kind not in "biufc":
        return None
    return torch.as_tensor(eager.copy()), torch.as_tensor(compiled.copy())


def _equal(path: str, eager: Any, compiled: Any, tolerance: Tolerance) -> bool:
    """Whether two values of a type are equal, as far as they tell."""
    if isinstance(eager, (float, complex)):
        # Python's floats mostly come out of float32 tensors.
        rtol, atol = tolerance.of(torch.float32)
        both_nan = eager != eager and compiled != compiled  # noqa: PLR0124
        close = abs(eager - compiled) <= atol + rtol * abs(eager)
        return bool(both_nan or eager == compiled or close)
    if callable(eager) or not says_when_equal(eager):
        return True
    try:
        return bool(eager == compiled)
    except Exception as error:
        reason = f"two of {type(eager).__name__} do not tell whether they are equal: {error}"
        raise NotComparableError(path, reason, "give tensors or plain values") from error


def _brief(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    text = str(value)
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 3]}..."
