"""Hypothesis strategies for the arguments of a model: shapes, types and memory layouts.

With ``assert_matches_eager`` under ``@given`` they search for an input on which compiled
and eager disagree, and shrink it to the smallest. It needs the extra ``hypothesis``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import torch

from pytest_compilecache.errors import MissingExtraError

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ImportError as error:
    raise MissingExtraError(
        "pytest_compilecache.strategies",
        "hypothesis is not installed",
        "pip install 'pytest-compilecache[hypothesis]'",
    ) from error

__all__ = [
    "Argument",
    "arguments",
    "dtypes",
    "keyword_arguments",
    "layouts",
    "seeded_tensor",
    "shapes",
    "tensors",
]

T = TypeVar("T")
Layout = Literal["contiguous", "channels_last", "transposed", "sliced", "expanded"]
_LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_DTYPES = {
    "floating": (torch.float32, torch.float64, torch.float16, torch.bfloat16),
    "integer": (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
    "complex": (torch.complex64, torch.complex128),
    "bool": (torch.bool,),
}

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_INTEGERS = (0, 10)
Side = int | str
Sides = Mapping[str, "SearchStrategy[int] | tuple[int, int]"]

_SEEDS = st.integers(0, 2**16 - 1)
_MAX_SIDE = 8
_ZERO_SIZED_ONE_IN = 8


@st.composite
def shapes(
    draw: st.DrawFn,
    *,
    min_dims: int = 0,
    max_dims: int = 4,
    min_side: int = 0,
    max_side: int = _MAX_SIDE,
) -> tuple[int, ...]:
    """Shapes, one in eight of them zero-sized; they shrink to fewer dimensions of size one.

    Args:
        draw: Given by hypothesis.
        min_dims: The fewest dimensions.
        max_dims: The most dimensions.
        min_side: The smallest size of a dimension.
        max_side: The largest; 8 by default.
    """
    sides = st.integers(max(min_side, 1), max_side)
    shape = draw(st.lists(sides, min_size=min_dims, max_size=max_dims))
    # Not as one more size: of shapes with four dimensions most would be zero-sized.
    if shape and not min_side and draw(st.integers(0, _ZERO_SIZED_ONE_IN - 1)) == 1:
        shape[draw(st.integers(0, len(shape) - 1))] = 0
    return tuple(shape)


def dtypes(*kinds: str) -> SearchStrategy[torch.dtype]:
    """Types of values; they shrink to the first of the first kind.

    Args:
        *kinds: Of ``floating``, ``integer``, ``complex`` and ``bool``; by default ``floating``.

    Raises:
        ValueError: There is no such kind.
    """
    unknown = [kind for kind in kinds if kind not in _DTYPES]
    if unknown:
        raise ValueError(f"there is no kind {unknown[0]!r} of types; use {', '.join(_DTYPES)}")
    return st.sampled_from([dtype for kind in kinds or ("floating",) for dtype in _DTYPES[kind]])


def layouts(shape: Sequence[int]) -> SearchStrategy[Layout]:
    """The memory layouts that a shape can have; they shrink to contiguous.

    Args:
        shape: The sizes of all dimensions.
    """
    possible = _possible_layouts(tuple(shape))

    def nearest(layout: Layout) -> Layout:
        later = _LAYOUTS[_LAYOUTS.index(layout) :]
        return next((each for each in later if each in possible), _LAYOUTS[0])

    # Out of all: when a dimension is shrunk away, a choice goes on to mean the same, and one
    # that is no longer possible another that is not contiguous. Else shrinking stops there.
    return st.sampled_from(_LAYOUTS).map(nearest)


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: Sequence[int] | SearchStrategy[tuple[int, ...]] | None = None,
    *,
    dtype: torch.dtype | SearchStrategy[torch.dtype] = torch.float32,
    layout: Layout | SearchStrategy[Layout] | None = None,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool | SearchStrategy[bool] = False,
) -> Any:
    """Tensors with finite values that come out of a drawn seed.

    A failing test prints each as the call of ``seeded_tensor`` that makes it.

    Args:
        draw: Given by hypothesis.
        shape: The shape; by default any of ``shapes()``.
        dtype: The type of its values; `float32` by default.
        layout: Its memory layout; by default any that its shape can have.
        low: The least value, as of ``seeded_tensor``.
        high: What values stay below.
        requires_grad: Whether it requires a gradient.
    """
    size = tuple(_drawn(draw, shapes() if shape is None else shape))
    kind = _drawn(draw, dtype)
    placed: Layout = _drawn(draw, layouts(size) if layout is None else layout)
    options: dict[str, Any] = {
        "seed": draw(_SEEDS),
        "low": low,
        "high": high,
        "requires_grad": _drawn(draw, requires_grad),
    }
    tensor = seeded_tensor(size, kind, placed, **options)
    tensor._repr_pretty_ = _Call(size, kind, placed, options)
    return tensor


@dataclass(frozen=True, slots=True)
class _Call:
    """Prints a tensor as the call that makes it: its values would not tell its layout."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    layout: Layout
    options: Mapping[str, Any]

    def __call__(self, printer: Any, _cycle: object) -> None:
        printer.text(str(self))

    def __str__(self) -> str:
        options = {**self.options, "requires_grad": self.options["requires_grad"] or None}
        given = [f"{key}={value}" for key, value in options.items() if value is not None]
        positional = [str(self.shape), str(self.dtype), repr(self.layout)]
        return f"seeded_tensor({', '.join(positional + given)})"


@dataclass(frozen=True, slots=True, init=False)
class Argument:
    """A tensor argument, described: its dimensions by size or by a name that others share.

    ``Argument("batch", "length", dtype=torch.int64, high=97)`` are token ids of a
    vocabulary of 97. A plain tuple of dimensions stands for one of ``float32``.

    Args:
        *shape: The dimensions: a size, or a name.
        **options: Keyword arguments of ``tensors``.
    """

    shape: tuple[Side, ...]
    options: Mapping[str, Any]

    def __init__(self, *shape: Side, **options: Any) -> None:
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "options", options)


Described = Argument | tuple[Side, ...] | SearchStrategy[Any]


@st.composite
def arguments(
    draw: st.DrawFn, *described: Described, sides: Sides | None = None
) -> tuple[Any, ...]:
    """The positional arguments of a model, as a tuple.

    Args:
        draw: Given by hypothesis.
        *described: Each argument: an ``Argument``, a tuple of dimensions, or a strategy.
        sides: The sizes of named dimensions: bounds, both included, or a strategy. Names
            that it lacks are 1 to 8.
    """
    named = _NamedSides(draw, sides or {})
    return tuple(draw(named.strategy_of(each)) for each in described)


@st.composite
def keyword_arguments(
    draw: st.DrawFn, /, *, sides: Sides | None = None, **described: Described
) -> dict[str, Any]:
    """The keyword arguments of a model, as a dictionary.

    Args:
        draw: Given by hypothesis.
        sides: As of ``arguments``.
        **described: Each argument, as of ``arguments``.
    """
    named = _NamedSides(draw, sides or {})
    return {name: draw(named.strategy_of(each)) for name, each in described.items()}


class _NamedSides:
    """The sizes of named dimensions in one example: each is drawn once."""

    def __init__(self, draw: st.DrawFn, sides: Sides) -> None:
        self._draw = draw
        self._sides = sides
        self._drawn: dict[str, int] = {}

    def strategy_of(self, described: Described) -> SearchStrategy[Any]:
        """The strategy that draws an argument."""
        if isinstance(described, SearchStrategy):
            return described
        argument = described if isinstance(described, Argument) else Argument(*described)
        shape = tuple(
            side if isinstance(side, int) else self._size(side) for side in argument.shape
        )
        return tensors(shape, **argument.options)

    def _size(self, name: str) -> int:
        if name not in self._drawn:
            sizes = self._sides.get(name, (1, _MAX_SIDE))
            strategy = sizes if isinstance(sizes, SearchStrategy) else st.integers(*sizes)
            self._drawn[name] = self._draw(strategy)
        return self._drawn[name]


def _drawn(draw: st.DrawFn, value: T | SearchStrategy[T]) -> T:
    return draw(value) if isinstance(value, SearchStrategy) else value


def _possible_layouts(shape: tuple[int, ...]) -> tuple[Layout, ...]:
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
    return tuple(layout for layout in _LAYOUTS if fits[layout])


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
    if layout not in _possible_layouts(tuple(shape)):
        raise ValueError(f"shape {tuple(shape)} cannot be {layout}")
    values = _values(tuple(shape), dtype, seed, low, high)
    return _arranged(values, layout).requires_grad_(requires_grad)


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


def _arranged(values: torch.Tensor, layout: Layout) -> torch.Tensor:
    if layout == "channels_last":
        return values.contiguous(memory_format=_CHANNELS_LAST[values.dim()])
    if layout == "transposed":
        return values.transpose(-1, -2).contiguous().transpose(-1, -2)
    if layout == "sliced":
        *sides, last = values.shape
        larger = values.new_zeros((*sides, 2 * last + 1))
        return larger[..., 1::2].copy_(values)
    if layout == "expanded" and values.shape[0]:
        return values[:1].clone().expand(values.shape)
    return values
