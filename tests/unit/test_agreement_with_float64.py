"""Compiled code may round otherwise than eager, and must not compute anything else.

What passes is as near to float64 as eager is, within a factor; what is wrong in one element,
by one term or in one gradient is found all the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_compilecache import assert_matches_eager
from pytest_compilecache.errors import DisagreementError

LONG = 16_384
searching = settings(max_examples=60, deadline=None, database=None)


def one_after_another(x: Any) -> Any:
    """The sum over the first dimension, as a plain loop adds it up."""
    return functools.reduce(torch.add, x.unbind(0))


class Unequal:
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


def columns(seed: int, width: int) -> Any:
    return torch.randn(LONG, width, generator=torch.Generator().manual_seed(seed))


def judged(compiled: Callable[..., Any], eager: Callable[..., Any], *args: Any, **how: Any) -> str:
    """What is said of two functions, or empty where they agree."""
    try:
        assert_matches_eager(compiled, *args, eager=eager, **how)
    except DisagreementError as error:
        return str(error)
    return ""


def planted(function: Callable[..., Any], index: int, relative: float) -> Callable[..., Any]:
    """The function with an error in one element of what it gives."""

    def wrong(*args: Any) -> Any:
        output = function(*args)
        factors = torch.ones(output.numel(), dtype=output.dtype)
        factors[index] += relative
        return output * factors.view_as(output)

    return wrong


# --- what is only rounded otherwise --------------------------------------------


def test_sum_that_is_added_up_in_another_order_agrees():
    for seed in range(4):
        x = columns(seed, 64)
        assert not torch.allclose(one_after_another(x), x.sum(0), rtol=1.3e-6, atol=1e-5)
        assert not judged(one_after_another, lambda x: x.sum(0), x)


@pytest.mark.parametrize("seed", range(12))
def test_single_sum_agrees_also_where_eagers_error_is_small_by_chance(seed: int):
    assert not judged(one_after_another, lambda x: x.sum(0), columns(seed, 1))


def test_sum_as_a_python_float_agrees():
    x = columns(0, 1)
    assert not judged(lambda x: one_after_another(x).item(), lambda x: x.sum(0).item(), x)


def test_gradient_that_is_added_up_in_another_order_agrees():
    class Shift(nn.Module):
        def __init__(self, add_up: Callable[..., Any]) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(4))
            self.add_up = add_up

        def forward(self, x):
            return Added.apply(x, self.bias, self.add_up)

    class Added(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, bias, add_up):
            ctx.add_up = add_up
            return x + bias

        @staticmethod
        def backward(ctx, gradient):
            return gradient, ctx.add_up(gradient), None

    x, plain = columns(0, 4), Shift(lambda one: one.sum(0))

    def other(x):
        return Added.apply(x, plain.bias, one_after_another)

    def wrong(x):
        return Added.apply(x, plain.bias, lambda one: one[1:].sum(0))

    assert not judged(other, plain, x)
    assert "gradient of bias" in judged(wrong, plain, x)


def test_compiled_that_is_nearer_to_float64_agrees():
    def f(x):
        return (x + 1e8) - 1e8

    assert not judged(lambda x: x * 1, f, torch.full((3,), 0.75))


def test_compiled_that_does_not_overflow_agrees_and_one_that_does_alone_is_found():
    x = torch.tensor([1000.0, 2.0], dtype=torch.float16)
    assert not judged(lambda x: (x.float() * x / 1000).half(), lambda x: x * x / 1000, x)
    assert "1 of 2 elements" in judged(
        lambda x: x * x / 1000, lambda x: (x.float() * x / 1000).half(), x
    )


def test_sum_with_random_numbers_agrees_within_a_tolerance_that_grows_with_its_length():
    def dropped(x):
        return nn.functional.dropout(x, 0.5)

    x = columns(0, 64)
    assert not judged(lambda x: one_after_another(dropped(x)), lambda x: dropped(x).sum(0), x)
    said = judged(lambda x: one_after_another(dropped(x)) + 0.1, lambda x: dropped(x).sum(0), x)
    assert "for which torch draws other random numbers" in said
    assert "128 times the usual tolerance is allowed, as up to 16384 elements" in said


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_that_is_rounded_less_often_agrees_and_a_wrong_one_does_not(dtype: Any):
    """Fused code keeps in float32 what eager rounds after every step."""

    def chain(x):
        for _ in range(12):
            x = (x * 1.7 + 0.3).sin() * 0.5 + x * 0.5
        return x

    def fused(x):
        return chain(x.float()).to(dtype)

    x = torch.randn(200, 100, generator=torch.Generator().manual_seed(0)).to(dtype)
    rtol = 1.6e-2 if dtype is torch.bfloat16 else 1e-3
    assert not torch.allclose(fused(x), chain(x), rtol=rtol, atol=1e-5)
    assert not judged(fused, chain, x)
    assert "elements differ" in judged(lambda x: fused(x) * 1.1, chain, x)


# --- what is wrong -------------------------------------------------------------


def test_one_element_of_many_is_found():
    x = torch.randn(1003)
    said = judged(lambda x: x.sin() + (torch.arange(1003) == 700) * 1e-3, torch.sin, x)
    assert "1 of 1003 elements differ" in said
    assert "the first at (700,)" in said
    assert "nearer to float64: eager" in said


def test_one_element_is_found_beside_others_that_are_only_rounded_otherwise():
    x = columns(0, 64)
    x[0, 7] += 1  # so that it is not near zero
    said = judged(planted(one_after_another, 7, 1e-2), lambda x: x.sum(0), x)
    assert "1 of 64 elements differ" in said


def test_element_is_found_beside_one_whose_rounding_is_a_thousand_times_as_large():
    """As masked logits are: where -1e9 is added, even eager is off by 32."""
    x = torch.randn(64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(64)
    mask[::2] = -1e9
    said = judged(lambda x: x * (1 + 1e-4) * 3 + mask, lambda x: x * 3 + mask, x)
    assert "32 of 64 elements differ" in said or "31 of 64" in said


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x[1:].sum(0),
        lambda x: x.sum(0) * 1.0001,
        lambda x: x.sum(0) + 0.25,
        lambda x: x.half().sum(0).float(),
        lambda x: x.sum(0) * float("nan"),
        lambda x: x.sum(0).clamp(max=1),
    ],
    ids=["dropped term", "factor", "constant", "half precision", "nan", "clamped"],
)
def test_sum_that_is_wrong_is_found(wrong: Callable[..., Any]):
    x = torch.rand(LONG, 4, generator=torch.Generator().manual_seed(0))
    assert "elements differ" in judged(wrong, lambda x: x.sum(0), x)
    assert "elements differ" in judged(wrong, lambda x: x.sum(0), x - 0.5)


@pytest.mark.parametrize("factor", [1.0001, 0.999, -1])
def test_gradient_that_is_wrong_is_found(factor: float):
    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x.view_as(x)

        @staticmethod
        def backward(_, gradient):
            return gradient * factor

    model = nn.Linear(64, 3)
    said = judged(lambda x: model(Scaled.apply(x)), model, torch.randn(5, 64, requires_grad=True))
    assert said.startswith("gradient of argument 0")


def test_model_that_computes_something_else_in_float64_does_not_excuse_what_is_wrong():
    def eager(x):
        return x * 2 if x.dtype is torch.float32 else x * 3

    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert not judged(lambda x: x + x, eager, x)
    assert "elements differ" in judged(lambda x: x * 2.01, eager, x)


def test_small_gradient_that_is_wrong_is_found_where_random_numbers_forbid_float64():
    """However long a sum is, what is allowed stays small beside the gradients themselves."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x.view_as(x)

        @staticmethod
        def backward(_, gradient):
            return gradient * 1.01

    model = nn.Sequential(nn.Linear(256, 256), nn.Dropout(0.5), nn.Linear(256, 4, bias=False))
    with torch.no_grad():
        model[2].weight.mul_(1e-2)

    def wrong(x):
        return model[2](model[1](Scaled.apply(model[0](x))))

    said = judged(wrong, model, torch.randn(3, 256))
    assert said.startswith("gradient of 0.weight")
    assert "gradient of 0.bias" in said


magnitudes = st.lists(st.integers(-1, 8), min_size=2, max_size=24)
FUNCTIONS = {
    "elementwise": lambda x: x.squeeze(0) * 1.1,
    "long sum": lambda x: torch.cat([x, -x * 0.5, x * 0.7]).sum(0),
    "cancelling": lambda x: (x.squeeze(0) + 1e3) - 1e3,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@searching
@given(powers=magnitudes, seed=st.integers(0, 99), data=st.data())
def test_error_of_one_percent_in_any_element_of_any_magnitude_is_found(name, powers, seed, data):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([10.0**power for power in powers])
    x = (torch.rand(1, len(powers), generator=generator) + 0.5) * scales
    index = data.draw(st.integers(0, len(powers) - 1))
    # Where eager itself is off by as much, there is nothing to find.
    eager, exact = FUNCTIONS[name](x), FUNCTIONS[name](x.double())
    assume(abs(eager - exact)[index] < 1e-4 * abs(exact)[index])
    for relative in (1e-2, -1e-2):
        assert "elements differ" in judged(
            planted(FUNCTIONS[name], index, relative), FUNCTIONS[name], x
        )


@searching
@given(seed=st.integers(0, 2**16), data=st.data())
def test_error_of_one_percent_is_found_where_random_numbers_forbid_float64(seed, data):
    def f(x):
        return nn.functional.dropout(x, 0.5).sum(0)

    x = torch.rand(LONG, 8, generator=torch.Generator().manual_seed(seed))
    index = data.draw(st.integers(0, 7))
    assert "1 of 8 elements differ" in judged(planted(f, index, 1e-2), f, x)


# --- what a person asked for ---------------------------------------------------


@pytest.mark.parametrize("given_by_a_person", [{"rtol": 1.3e-6}, {"atol": 1e-5}])
def test_tolerances_that_are_given_are_obeyed_as_they_are(given_by_a_person: dict[str, float]):
    x = columns(0, 64)
    said = judged(one_after_another, lambda x: x.sum(0), x, **given_by_a_person)
    assert "nearer to float64: eager" in said
    assert "times eager's" not in said
    assert not judged(one_after_another, lambda x: x.sum(0), x, rtol=0.0, atol=0.1)


def test_model_that_float64_cannot_run_is_judged_by_the_length_of_its_sums():
    def only_float32(x):
        if x.dtype is torch.float64:
            raise TypeError("no kernel for <object at 0x7f3211>")
        return x

    x = columns(0, 4)
    assert not judged(lambda x: one_after_another(only_float32(x)), lambda x: x.sum(0), x)
    said = judged(lambda x: x.sum(0) + 1, lambda x: only_float32(x).sum(0), x)
    assert "not recomputed in float64: TypeError: no kernel for <object>" in said


def test_model_and_arguments_are_left_alone_also_where_float64_was_asked():
    model = nn.BatchNorm1d(64)
    twin = nn.BatchNorm1d(64)
    x = columns(0, 64) * 100 + 1
    kept = x.clone()

    def wrong(x):
        return model(x) * 1.1

    assert "nearer to float64: eager" in judged(wrong, model, x)
    twin(x)
    assert torch.equal(x, kept)
    for name, value in twin.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
        assert model.state_dict()[name].dtype is value.dtype
    assert model.weight.grad is None


def test_reasons_carry_no_addresses():
    one, other = Unequal(), Unequal()
    assert "0x" in str(one)
    assert "Unequal object>, compiled <" in judged(lambda: other, lambda: one)

    def fails():
        raise ValueError(one)

    for said in (judged(lambda: other, lambda: one), judged(lambda: 1, fails)):
        assert "Unequal object" in said
        assert "0x" not in said
