"""Judges what two runs left, leaf by leaf: by tolerance first, then against float64.

A compiler may add up a sum in another order. So a value that differs by more than its type's
tolerance is computed once more in float64, and compiled may be as far from that as eager
itself is, within a factor. It must never be so lenient that an error of one percent passes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_compilecache.agreement.running import WIDE, Call, Nudge, Run
from pytest_compilecache.agreement.values import compares_values
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

# Compiled may be so many times as far from float64 as eager is. Rounding errors of a sum grow
# with the root of its length in a plain loop, but hardly in eager's cascade: so the factor is
# that root where more elements than 16 flow into one, up to the 65,536 that bound it.
_LEAST_FACTOR = 4.0
_LONGEST_SUM = 2**16
# One error of eager's can be small by chance. It is looked at again for nudged values, and
# those of elements of about its magnitude (within 2**3) count as well. Not those of larger
# ones: beside -1e9, whose rounding error is 32, nothing else would be wrong.
_NUDGES = 4
_BINADES = 3
_SQUARABLE = 1e150

_PYTHON = {float: torch.float64, complex: torch.complex128}
_MISSING = object()
_BRIEF = 80


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far compiled may be from eager: ``atol + rtol * |eager|``; ``None`` for defaults."""

    rtol: float | None = None
    atol: float | None = None
    strides: bool = False

    @property
    def given(self) -> bool:
        """Whether a person said how far, so that nothing widens it."""
        return self.rtol is not None or self.atol is not None

    def of(self, dtype: torch.dtype) -> tuple[float, float]:
        """The relative and the absolute part for a type."""
        rtol, atol = _DEFAULTS.get(dtype, (0.0, 0.0))
        return (
            rtol if self.rtol is None else self.rtol,
            atol if self.atol is None else self.atol,
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """A leaf that differs, and how, on one or several lines."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Pair:
    """Dense tensors of eager and compiled, and the type whose tolerance holds for them."""

    path: str
    dtype: torch.dtype
    eager: torch.Tensor
    compiled: torch.Tensor

    def beyond(self, rtol: float, atol: float) -> torch.Tensor:
        """Which elements differ by more than is allowed; NaN agrees with NaN."""
        numbers = self.eager.is_floating_point() or self.eager.is_complex()
        if not numbers and not (rtol or atol):
            return self.eager != self.compiled
        one, other = _wide(self.eager), _wide(self.compiled)
        close = (one - other).abs() <= atol + rtol * one.abs()
        finite = one.isfinite() & other.isfinite()
        return ~((one == other) | (one.isnan() & other.isnan()) | (close & finite))

    def figures(self, wrong: torch.Tensor, rtol: float, atol: float) -> str:
        """How many elements differ, the first of them, and the largest errors."""
        one, other = _wide(self.eager), _wide(self.compiled)
        place = tuple(wrong.nonzero()[0].tolist())
        where = f" at {place}" if place else ""
        first, second = self.eager[place].item(), self.compiled[place].item()
        distance = (one - other).abs()
        largest, relative = _largest(distance), _largest(distance / one.abs())
        kind = str(self.dtype).removeprefix("torch.")
        return (
            f"{int(wrong.sum())} of {wrong.numel()} elements differ\n"
            f"  {kind} of shape {tuple(self.eager.shape)}; "
            f"the first{where}: eager {first:.9g}, compiled {second:.9g}\n"
            f"  max abs error {largest:.3g} (allowed: {atol:g}), "
            f"max rel error {relative:.3g} (allowed: {rtol:g})"
        )


@dataclass(slots=True)
class Judge:
    """Says what differs between the runs of one call.

    Attributes:
        call: The call, for runs in float64.
        function: Runs eager.
        eager: The run of eager.
        tolerance: How far compiled may be from eager.
    """

    call: Call
    function: Callable[..., Any]
    eager: Run
    tolerance: Tolerance
    # Runs of eager, with the run in float64 that each is held against.
    _references: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    _failure: str = ""

    def differences(self, compiled: Run) -> Iterator[Difference]:
        """What differs, in the order of eager's leaves, then what compiled alone has.

        Raises:
            NotComparableError: Whether two values are equal cannot be found out.
        """
        found = _by_path(compiled)
        for leaf in self.eager.leaves:
            reason = self._compare(leaf.path, leaf.value, found.pop(leaf.path, _MISSING))
            if reason:
                yield Difference(leaf.path, reason)
        for path, value in found.items():
            if not _is_zero_gradient(path, value):
                yield Difference(path, f"only compiled has it: {_brief(value)}")

    def _compare(self, path: str, eager: Any, compiled: Any) -> str:
        if _is_zero_gradient(path, eager) and _is_zero_gradient(path, compiled):
            return ""
        if compiled is _MISSING:
            return f"only eager has it: {_brief(eager)}"
        if path.startswith("output") and isinstance(eager, Iterator):
            reason = "reading an iterator uses it up"
            raise NotComparableError(path, reason, "give a list of what it gives")
        one, other = _as_tensor(eager), _as_tensor(compiled)
        same_type = type(eager) is type(compiled) or isinstance(eager, torch.Tensor)
        if same_type and one is not None and other is not None:
            for name, first, second in _properties(one, other, strides=self.tolerance.strides):
                if first != second:
                    return f"{name}: eager {_brief(first)}, compiled {_brief(second)}"
            # Python's floats mostly come out of float32 tensors.
            dtype = torch.float32 if type(eager) in _PYTHON else one.dtype
            return self._judge(_Pair(path, dtype, _dense(path, one), _dense(path, other)))
        if type(eager) is type(compiled) and _are_equal(path, eager, compiled):
            return ""
        return f"eager gives {_brief(eager)}, compiled {_brief(compiled)}"

    def _judge(self, pair: _Pair) -> str:
        """How far two tensors differ, or empty where they agree."""
        allowed = self.tolerance.of(pair.dtype)
        wrong = pair.beyond(*allowed)
        if not bool(wrong.any()):
            return ""
        if pair.dtype not in WIDE:
            return pair.figures(wrong, *allowed)
        missing = self._no_reference(pair)
        factor = self._factor(pair)
        if self.tolerance.given:
            note = missing or self._nearer(pair)
        elif missing:
            # Half-precision values are added up in single precision, whose part grows. The
            # absolute part is meant for values of about 1: for smaller ones, it grows less.
            size = min(1.0, _root_mean_square(pair.eager))
            more = [(factor - 1) * _SINGLE[0], (factor - 1) * _SINGLE[1] * size]
            allowed = (allowed[0] + more[0], allowed[1] + more[1])
            wrong = wrong & pair.beyond(*allowed)
            grown = f"; {factor:.3g} times the usual tolerance is allowed, as up to"
            elements = f" {factor**2:.0f} elements are added up in one"
            note = missing + (grown + elements if factor > 1 else "")
        else:
            factor = max(factor, _LEAST_FACTOR)
            wrong = self._too_far(pair, wrong, factor)
            note = f"{self._nearer(pair)}; {factor:.3g} times eager's error is allowed"
        return f"{pair.figures(wrong, *allowed)}\n  {note}" if bool(wrong.any()) else ""

    def _factor(self, pair: _Pair) -> float:
        """How far rounding errors may grow: the root of how many elements flow into one."""
        length = self.call.count_elements() / max(pair.eager.numel(), 1)
        return math.sqrt(min(max(length, 1.0), _LONGEST_SUM))

    def _too_far(self, pair: _Pair, wrong: torch.Tensor, factor: float) -> torch.Tensor:
        """Which of the wrong elements are also too far from float64."""
        reference = self._reference(pair.path)
        rtol, atol = self.tolerance.of(pair.dtype)
        tolerance = atol + rtol * reference.abs()
        errors = (_wide(pair.compiled) - reference).abs()
        # An error in the first half of the digits is none of rounding: float64 computes something
        # else there, such as another branch, and says nothing of what compiled may do.
        typical = _root_mean_square(reference)
        rounding = torch.finfo(pair.dtype).eps ** 0.5 * reference.abs().clamp(min=typical)
        own = torch.zeros_like(errors)
        for sample in range(1 + _NUDGES):
            error = self._error_of_eager(pair.path, sample, own)
            own = torch.maximum(own, error.where(error <= rounding, 0.0))
            eagers = torch.maximum(own, _usual_nearby(own, reference))
            allowed = torch.maximum(tolerance, factor * eagers)
            wrong = wrong & ~((errors <= allowed) & errors.isfinite())
            if not bool(wrong.any()):
                break
        return wrong

    def _nearer(self, pair: _Pair) -> str:
        """Whether compiled or eager is nearer to what float64 gives."""
        reference = self._reference(pair.path)
        errors = {
            "eager": _largest((_wide(pair.eager) - reference).abs()),
            "compiled": _largest((_wide(pair.compiled) - reference).abs()),
        }
        best, worst = sorted(errors, key=lambda name: errors[name])
        if errors[best] == errors[worst]:
            return f"both are as near to float64 (max abs error {errors[best]:.3g})"
        figures = f"max abs error {errors[best]:.3g}; {worst} {errors[worst]:.3g}"
        return f"nearer to float64: {best} ({figures})"

    def _no_reference(self, pair: _Pair) -> str:
        """Why there is nothing in float64 to compare with, or empty."""
        if self.eager.drew_random_numbers:
            return "not recomputed in float64, for which torch draws other random numbers"
        self._sample(0)
        if self._failure:
            return f"not recomputed in float64: {self._failure}"
        found = _as_tensor(self._references[0][1].get(pair.path))
        if found is None or found.shape != pair.eager.shape:
            return "not recomputed in float64: the result is of another kind there"
        if found.dtype is not WIDE.get(pair.eager.dtype, pair.eager.dtype):
            return f"not recomputed in float64: the model itself computes it in {found.dtype}"
        return ""

    def _reference(self, path: str) -> torch.Tensor:
        found = _as_tensor(self._references[0][1][path])
        assert found is not None  # noqa: S101  (_no_reference said so)
        return _dense(path, found)

    def _error_of_eager(self, path: str, sample: int, like: torch.Tensor) -> torch.Tensor:
        """How far eager is from float64; zero where that cannot be computed."""
        self._sample(sample)
        eager, reference = (_as_tensor(run.get(path)) for run in self._references[sample])
        if eager is None or reference is None or not eager.shape == reference.shape == like.shape:
            return torch.zeros_like(like)
        error = _wide(_dense(path, eager)) - _dense(path, reference)
        return error.abs().nan_to_num(0.0, 0.0, 0.0)

    def _sample(self, sample: int) -> None:
        """Have eager and float64 run for the values of a sample; the first are the call's own."""
        while len(self._references) <= sample:
            seed = len(self._references)
            # Nudged alike, so that both runs start from the same values.
            eager = self.call.run(self.function, Nudge(seed)) if seed else self.eager
            wide = self.call.run_in_float64(self.function, Nudge(seed) if seed else None)
            self._references.append((_by_path(eager), _by_path(wide)))
            if wide.error is not None and not seed:
                self._failure = one_line(f"{type(wide.error).__name__}: {wide.error}")[:200]


def one_line(text: object) -> str:
    """A text on one line, without addresses in memory, which differ from run to run."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(text).split()))


def _by_path(run: Run) -> dict[str, Any]:
    return {leaf.path: leaf.value for leaf in run.leaves}


def _root_mean_square(values: torch.Tensor) -> float:
    return float(_wide(values).abs().clamp(max=_SQUARABLE).square().mean().sqrt())


def _usual_nearby(errors: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The root mean square error of elements of about the same magnitude, for each element."""
    least, most = -1074, 1024
    # On the CPU, where adding up by an index is deterministic.
    exponent = torch.frexp(values.abs().cpu()).exponent.clamp(least, most)
    index = exponent.where(values.cpu() != 0, least).flatten().long() - least
    squares = errors.cpu().clamp(max=_SQUARABLE).square().flatten()
    one = torch.ones_like(squares)
    sums = torch.stack([torch.bincount(index, each, most - least + 1) for each in (squares, one)])
    square, count = torch.nn.functional.avg_pool1d(sums, 2 * _BINADES + 1, 1, _BINADES)
    return (square / count).sqrt()[index].view_as(errors).to(errors.device)


def _is_zero_gradient(path: str, value: Any) -> bool:
    """A gradient that is missing equals one of zeros: both add nothing to a parameter."""
    if not path.startswith("gradient of "):
        return False
    if isinstance(value, torch.Tensor):
        return not bool(_dense(path, value).any())
    return value is None or value is _MISSING


def _properties(
    eager: torch.Tensor, compiled: torch.Tensor, *, strides: bool
) -> Iterator[tuple[str, Any, Any]]:
    for name in ("dtype", "shape", "device", "layout", "requires_grad"):
        yield name, getattr(eager, name), getattr(compiled, name)
    if strides and eager.layout is torch.strided:
        yield "strides", eager.stride(), compiled.stride()


def _dense(path: str, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as one that can be computed with."""
    if tensor.device.type == "meta" or tensor.is_nested:
        kind = "nested" if tensor.is_nested else "meta"
        remedy = "compare by hand, or compile a function that gives dense tensors"
        raise NotComparableError(path, f"a {kind} tensor has no values to compare", remedy)
    tensor = tensor.detach()
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def _as_tensor(value: Any) -> torch.Tensor | None:
    """Tensors, NumPy's arrays and Python's floats as tensors; None for all else."""
    if isinstance(value, torch.Tensor):
        return value
    if type(value) in _PYTHON:
        return torch.tensor(value, dtype=_PYTHON[type(value)])
    if type(value).__module__ == "numpy" and getattr(value, "dtype", None) is not None:
        return torch.as_tensor(value.copy()) if value.dtype.kind in "biufc" else None
    return None


def _are_equal(path: str, eager: Any, compiled: Any) -> bool:
    """Whether two values of a type are equal, as far as they tell."""
    if callable(eager) or not compares_values(eager):
        return True
    try:
        return bool(eager == compiled)
    except Exception as error:
        reason = f"{type(eager).__name__} cannot be compared by ==: {one_line(error)}"
        raise NotComparableError(path, reason, "give tensors or plain values") from error


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _largest(errors: torch.Tensor) -> float:
    """The largest of errors that is finite, or infinity where none is."""
    finite = errors[errors.isfinite()]
    return float(finite.max()) if finite.numel() else float("inf")


def _brief(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    text = one_line(value)
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 3]}..."
