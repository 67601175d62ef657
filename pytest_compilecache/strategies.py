"""Hypothesis strategies for the arguments of a model: shapes, types and memory layouts.

With ``assert_matches_eager`` under ``@given`` they search for an input on which compiled
and eager disagree, and shrink it to the smallest. It needs the extra ``hypothesis``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_compilecache.compiling.layouts import (
    DTYPES,
    LAYOUTS,
    SINGLE,
    DType,
    Layout,
    possible_layouts,
    seeded_tensor,
)
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


def dtypes(*kinds: str) -> SearchStrategy[DType]:
    """Types of values; they shrink to the first of the first kind.

    Args:
        *kinds: Of ``floating``, ``integer``, ``complex`` and ``bool``; by default ``floating``.

    Raises:
        ValueError: There is no such kind.
    """
    unknown = [kind for kind in kinds if kind not in DTYPES]
    if unknown:
        raise ValueError(f"there is no kind {unknown[0]!r} of types; use {', '.join(DTYPES)}")
    return st.sampled_from([dtype for kind in kinds or ("floating",) for dtype in DTYPES[kind]])


def layouts(shape: Sequence[int]) -> SearchStrategy[Layout]:
    """The memory layouts that a shape can have; they shrink to contiguous.

    Args:
        shape: The sizes of all dimensions.
    """
    possible = possible_layouts(tuple(shape))

    def nearest(layout: Layout) -> Layout:
        later = LAYOUTS[LAYOUTS.index(layout) :]
        return next((each for each in later if each in possible), LAYOUTS[0])

    # Out of all: when a dimension is shrunk away, a choice goes on to mean the same, and one
    # that is no longer possible another that is not contiguous. Else shrinking stops there.
    return st.sampled_from(LAYOUTS).map(nearest)


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: Sequence[int] | SearchStrategy[tuple[int, ...]] | None = None,
    *,
    dtype: DType | SearchStrategy[DType] = SINGLE,
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
    dtype: DType
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
