"""Tolerances are those of torch.testing.assert_close, for every type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pytest_compilecache import DisagreementError, assert_matches_eager
from pytest_compilecache.agreement.judging import Tolerance

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]
WHOLE = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]


def agree(eager: Any, compiled: Any, **tolerance: float) -> bool:
    try:
        assert_matches_eager(lambda: compiled, eager=lambda: eager, **tolerance)
    except DisagreementError:
        return False
    return True


def close(eager: Any, compiled: Any) -> bool:
    try:
        torch.testing.assert_close(compiled, eager, equal_nan=True)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("dtype", [*FLOATING, *COMPLEX, *WHOLE])
@pytest.mark.parametrize("magnitude", [0, 1, 100])
def test_what_assert_close_takes_for_equal_is_equal_and_nothing_else(dtype: Any, magnitude: int):
    eager = torch.full((1,), magnitude, dtype=dtype)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    verdicts = set()
    for exponent in range(-90, 10):
        compiled = (eager.to(wide) + 10 ** (exponent / 10)).to(dtype)
        if not _near_the_bound(eager.to(wide), compiled.to(wide), Tolerance().of(dtype)):
            assert agree(eager, compiled) == close(eager, compiled)
            verdicts.add(agree(eager, compiled))
    assert verdicts == {True, False}


def _near_the_bound(eager: Any, compiled: Any, allowed: tuple[float, float]) -> bool:
    """Where assert_close, which computes in the type itself, can round to the other side."""
    rtol, atol = allowed
    bound = float(atol + rtol * eager.abs())
    return abs(float((eager - compiled).abs()) - bound) < 0.01 * bound


def test_booleans_agree_with_themselves_only():
    assert agree(torch.tensor([True]), torch.tensor([True]))
    assert not agree(torch.tensor([True]), torch.tensor([False]))


def test_given_tolerances_count_for_every_type():
    one, other = torch.tensor([100]), torch.tensor([101])
    assert not agree(one, other)
    assert agree(one, other, atol=1)
    assert agree(one, other, rtol=0.01)
    assert agree(one.float(), other.float(), rtol=0.01, atol=0)


def test_large_integers_are_not_rounded():
    assert not agree(torch.tensor([2**60]), torch.tensor([2**60 + 1]))


def test_numpy_arrays_and_numbers_agree_within_tolerance():
    assert agree(np.float32([1, 2]), np.float32([1, 2 + 1e-7]))
    assert not agree(np.float32([1, 2]), np.float32([1, 3]))
    assert agree(float("nan"), float("nan"))
    assert agree(1.0, 1.0 + 1e-7)
    assert not agree(1e300, 2e300)
    assert agree(2 + 1j, 2 + 1j + 1e-8)
