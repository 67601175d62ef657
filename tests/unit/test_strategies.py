"""Strategies draw every layout, find seeded disagreements, and print what they drew."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from pytest_compilecache import DisagreementError, assert_matches_eager
from pytest_compilecache.agreement.values import Arguments
from pytest_compilecache.strategies import (
    Argument,
    Layout,
    arguments,
    dtypes,
    keyword_arguments,
    layouts,
    seeded_tensor,
    shapes,
    tensors,
)

quickly = settings(max_examples=60, deadline=None, database=None)
searching = settings(max_examples=300, deadline=None, database=None)


def wrong_where(bad: Callable[[Any], bool]) -> Callable[..., Any]:
    """A function that is right but for inputs that are bad; nothing is traced, so it is quick."""

    def function(x):
        return x * 2 + (1 if bad(x) else 0)

    return function


def disagrees(function: Callable[..., Any], x: Any) -> bool:
    try:
        assert_matches_eager(function, x, eager=lambda x: x * 2)
    except DisagreementError:
        return True
    return False


def channels_last(x: Any) -> bool:
    plain = x.is_contiguous()
    return x.dim() == 4 and not plain and x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("bad", "shape", "strides"),
    [
        (lambda x: 1 in x.shape, (1,), (1,)),
        (lambda x: not x.is_contiguous(), (2,), (2,)),
        (lambda x: x.dim() == 3, (1, 1, 1), (1, 1, 1)),
        (lambda x: x.numel() > 1 and 0 in x.stride(), (2,), (0,)),
        (lambda x: x.dim() > 1 and x.stride()[-2] == 1 < x.stride()[-1], (2, 2), (1, 2)),
        (channels_last, (1, 2, 1, 2), (4, 1, 4, 2)),
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_seeded_disagreement_is_found_and_shrunk_to_the_smallest_shape(bad, shape, strides, seed):
    wrong = wrong_where(bad)
    chance = random.Random(seed)
    smallest = find(tensors(), lambda x: disagrees(wrong, x), settings=searching, random=chance)
    assert smallest.shape == shape
    assert smallest.stride() == strides


def test_disagreement_on_nothing_at_all_is_found():
    smallest = find(tensors(), lambda x: x.numel() == 0, settings=searching)
    assert smallest.shape == (0,)


def test_layout_shrinks_to_contiguous_and_seed_to_zero():
    smallest = find(tensors(shapes(min_dims=4, min_side=2)), lambda _: True, settings=quickly)
    assert smallest.is_contiguous()
    assert torch.equal(smallest, seeded_tensor((2, 2, 2, 2)))


@quickly
@given(shapes(max_dims=5).flatmap(lambda shape: st.tuples(st.just(shape), layouts(shape))))
def test_every_layout_holds_the_values_that_the_plain_one_holds(drawn):
    shape, layout = drawn
    tensor = seeded_tensor(shape, layout=layout, seed=3)
    assert tensor.shape == shape
    assert tensor.is_leaf
    if layout != "expanded":
        assert torch.equal(tensor, seeded_tensor(shape, seed=3))


def test_every_layout_differs_from_the_plain_one_where_it_can():
    shape = (2, 3, 4, 5)
    strides = {seeded_tensor(shape, layout=layout).stride() for layout in get_args(Layout)}
    assert len(strides) == len(get_args(Layout))
    with pytest.raises(ValueError, match=r"shape \(3,\) cannot be transposed"):
        seeded_tensor((3,), layout="transposed")


@quickly
@given(dtypes("floating", "integer", "complex", "bool"), st.integers(0, 3))
def test_values_are_finite_of_their_type_and_within_bounds(dtype, seed):
    tensor = seeded_tensor((50,), dtype, seed=seed)
    assert tensor.dtype == dtype
    assert bool(tensor.isfinite().all())
    if dtype.is_floating_point or dtype in {torch.int64, torch.uint8}:
        bounded = seeded_tensor((50,), dtype, seed=seed, low=3, high=7)
        assert 3 <= bounded.min() <= bounded.max() <= 7
        assert dtype.is_floating_point or bounded.max() < 7


def test_unknown_kind_of_types_is_refused():
    with pytest.raises(ValueError, match="there is no kind 'float' of types; use floating"):
        dtypes("float")


@quickly
@given(tensors(requires_grad=st.booleans()))
def test_copy_of_an_argument_keeps_strides_and_being_a_view(x):
    copied = Arguments((x, {"also": x}), {}).copy()
    (copy, again) = copied.positional[0], copied.positional[1]["also"]
    assert copy is again
    assert copy is not x
    assert torch.equal(copy, x)
    assert (copy.stride(), copy.storage_offset()) == (x.stride(), x.storage_offset())
    assert copy.requires_grad == x.requires_grad
    assert copy._is_view() == x._is_view()
    assert not x.numel() or copy.data_ptr() != x.data_ptr()


@quickly
@given(tensors(shapes(min_dims=1, min_side=1)), st.data())
def test_copies_of_arguments_share_memory_as_the_arguments_do(x, data):
    part = x[data.draw(st.integers(0, x.shape[0] - 1)) :]
    copy, copied_part = Arguments((x, part), {}).copy().positional
    copied_part.fill_(7) if 0 not in x.stride() else copied_part.as_strided((1,), (1,)).fill_(7)
    part.fill_(7) if 0 not in x.stride() else part.as_strided((1,), (1,)).fill_(7)
    assert torch.equal(copy, x)


def test_copy_keeps_dimensions_marked_as_dynamic():
    x = torch.ones(4, 3)
    torch._dynamo.mark_dynamic(x, 0)
    assert Arguments((x,), {}).copy().positional[0]._dynamo_dynamic_indices == {0}


@quickly
@given(arguments(("batch", 3, "length"), Argument("batch", "length", dtype=torch.int64, high=97)))
def test_named_dimensions_are_shared(drawn):
    x, ids = drawn
    assert x.shape == (ids.shape[0], 3, ids.shape[1])
    assert ids.dtype == torch.int64
    assert 0 <= ids.min() <= ids.max() < 97


@quickly
@given(
    keyword_arguments(
        sides={"batch": (0, 2), "length": st.sampled_from([8, 16])},
        ids=("batch", "length"),
        flag=st.booleans(),
    )
)
def test_named_dimensions_can_be_bounded_and_other_values_drawn(drawn):
    batch, length = drawn["ids"].shape
    assert batch in {0, 1, 2}
    assert length in {8, 16}
    assert isinstance(drawn["flag"], bool)


def test_failing_example_prints_the_call_that_makes_the_tensor():
    @settings(max_examples=5, deadline=None, database=None)
    @given(arguments(("batch", 2), Argument(3, dtype=torch.int64, low=1, requires_grad=False)))
    def fails(drawn):
        assert drawn is None

    with pytest.raises(AssertionError) as raised:
        fails()
    notes = "".join(getattr(raised.value, "__notes__", []))
    if notes:  # Python 3.10 has none: hypothesis prints there
        assert "seeded_tensor((1, 2), torch.float32, 'contiguous', seed=0)" in notes
        assert "seeded_tensor((3,), torch.int64, 'contiguous', seed=0, low=1)" in notes


def test_without_hypothesis_the_error_names_the_extra():
    code = "import sys; sys.modules['hypothesis'] = None; import pytest_compilecache.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in done.stderr
    assert "pip install 'pytest-compilecache[hypothesis]'" in done.stderr
