"""Tensors whose values lie in memory in all the ways that compiled code must cope with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch

Layout = Literal["contiguous", "channels_last", "transposed", "sliced", "expanded"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

DType = torch.dtype
SINGLE = torch.float32
DTYPES = {
    "floating": (torch.float32, torch.float64, torch.float16, torch.bfloat16),
    "integer": (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    "complex": (torch.complex64, torch.complex128),
    "bool": (torch.bool,),
}

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_INTEGERS = (0, 10)


def possible_layouts(shape: tuple[int, ...]) -> tuple[Layout, ...]:
    """The layouts that a shape can have, the plainest first.

    Args:
        shape: The sizes of all dimensions.
    """
    dims = len(shape)
    fits = {
        "contiguous": True,
        "channels_last": dims in _CHANNELS_LAST,
        "transposed": dims > 1,
        "sliced": dims > 0,
        "expanded": dims > 0,
    }
    return tuple(layout for layout in LAYOUTS if fits[layout])


def seeded_tensor(
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    layout: Layout = "contiguous",
    *,
    seed: int = 0,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
) -> torch.Tensor:
    """A tensor that is the same wherever it is made.

    Args:
        shape: The sizes of all dimensions.
        dtype: The type of its values.
        layout: How it lies in memory: ``contiguous``; ``channels_last`` (four or five
            dimensions); ``transposed`` (its last two dimensions swapped); ``sliced``
            (every second element of a larger one, from the second); or ``expanded``
            (the values of its first dimension are one).
        seed: Decides its values.
        low: The least value. Without bounds, values of floating-point types are normally
            distributed, and those of integers are 0 to 9.
        high: What values stay below.
        requires_grad: Whether it requires a gradient.

    Returns:
        A leaf with these values and strides.

    Raises:
        ValueError: The shape cannot have the layout.
    """
    if layout not in possible_layouts(tuple(shape)):
        raise ValueError(f"shape {tuple(shape)} cannot be {layout}")
    values = _values(tuple(shape), dtype, seed, low, high)
    return _ARRANGED[layout](values).requires_grad_(requires_grad)


def _values(
    shape: tuple[int, ...], dtype: torch.dtype, seed: int, low: float | None, high: float | None
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype is torch.bool:
        return torch.randint(0, 2, shape, generator=generator).to(dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        first = _INTEGERS[0] if low is None else math.ceil(low)
        last = first + _INTEGERS[1] if high is None else math.ceil(high)
        return torch.randint(first, last, shape, generator=generator).to(dtype)
    if low is None and high is None:
        kind = torch.complex64 if dtype.is_complex else torch.float32
        return torch.randn(shape, generator=generator, dtype=kind).to(dtype)
    least = 0.0 if low is None else low
    width = (least + 1.0 if high is None else high) - least
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (least + width * uniform).to(dtype)


def _contiguous(values: torch.Tensor) -> torch.Tensor:
    return values


def _channels_last(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous(memory_format=_CHANNELS_LAST[values.dim()])


def _transposed(values: torch.Tensor) -> torch.Tensor:
    return values.transpose(-1, -2).contiguous().transpose(-1, -2)


def _sliced(values: torch.Tensor) -> torch.Tensor:
    *sides, last = values.shape
    larger = values.new_zeros((*sides, 2 * last + 1))
    sliced = larger[..., 1::2]
    return sliced.copy_(values)


def _expanded(values: torch.Tensor) -> torch.Tensor:
    return values[:1].clone().expand(values.shape) if values.shape[0] else values


_ARRANGED: dict[Layout, Callable[[torch.Tensor], torch.Tensor]] = {
    "contiguous": _contiguous,
    "channels_last": _channels_last,
    "transposed": _transposed,
    "sliced": _sliced,
    "expanded": _expanded,
}
