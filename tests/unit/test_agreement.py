"""Compiled code that is wrong in one way, and what assert_matches_eager says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from pytest_compilecache import assert_matches_eager
from pytest_compilecache.errors import DisagreementError, NotComparableError
from tests.unit.wrong_backends import agrees, by, changing_gradients, changing_output, disagreement


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Box:
    width: Any
    inner: Any = None


class Bag:
    def __init__(self, held: Any) -> None:
        self.held = held


def test_wrong_output_is_reported_with_its_path_and_figures():
    def f(x):
        return {"logits": [x * 1, None, 3], "loss": x.sum()}

    backend = changing_output(lambda one: one + 0.25 if one.dim() else one)
    error = disagreement(f, torch.ones(2, 3), backend=backend)
    assert isinstance(error, AssertionError)
    assert error.subject == "output['logits'][0]"
    assert "6 of 6 elements differ" in error.reason
    assert "float32 of shape (2, 3); the first at (0, 0): eager 1, compiled 1.25" in error.reason
    assert "max abs error 0.25 (allowed: 1e-05), max rel error 0.25" in error.reason
    assert "nearer to float64: eager (max abs error 0; compiled 0.25)" in error.reason


def test_compiled_can_be_the_one_that_is_nearer_to_float64_and_still_beyond_what_was_given():
    def f(x):
        return (x + 1e8) - 1e8

    x = torch.full((3,), 0.75)
    error = disagreement(f, x, backend=changing_output(lambda one: one * 0 + 0.75), atol=0)
    assert "nearer to float64: compiled" in error.reason


def test_reference_is_float64_also_where_a_model_names_float32():
    def f(x):
        return (x.to(torch.float32) + 1e8).float() - torch.full((), 1e8, dtype=torch.float32)

    x = torch.full((3,), 0.75)
    error = disagreement(f, x, backend=changing_output(lambda one: one * 0 + 0.75), atol=0)
    assert "nearer to float64: compiled" in error.reason


def test_wrong_gradient_of_a_parameter_is_found_where_the_output_is_right():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    backend = changing_gradients(lambda one: one * 1.5)
    error = disagreement(model, torch.randn(5, 4), backend=backend)
    assert error.subject == "gradient of 0.weight"
    assert "also: gradient of 0.bias, gradient of 1.weight" in error.reason


def test_wrong_gradient_of_a_softmax_is_found_though_its_outputs_sum_to_one():
    """The gradient of a plain sum is zero there, whatever a backward does."""
    x = torch.randn(3, 5, requires_grad=True)
    error = disagreement(
        lambda x: x.softmax(-1), x, backend=changing_gradients(lambda one: one * 2)
    )
    assert error.subject == "gradient of argument 0"


def test_wrong_gradient_is_not_looked_for_on_request():
    x = torch.randn(3, requires_grad=True)
    wrong = by(changing_gradients(lambda one: one * 2))
    assert_matches_eager(torch.sin, x, gradients=False, compile=wrong)
    with torch.no_grad():
        assert_matches_eager(torch.sin, x, compile=wrong)


def test_gradients_that_are_demanded_must_exist():
    with pytest.raises(NotComparableError, match="no output has one"):
        agrees(lambda x: x.sin(), torch.ones(2), gradients=True)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: iter([x * 1]), "reading an iterator uses it up"),
        (lambda x: (each for each in [x * 1]), "reading an iterator uses it up"),
        (lambda x: (x * 2).to("meta"), "a meta tensor has no values"),
    ],
)
def test_output_that_cannot_be_compared_is_refused_and_not_taken_for_equal(
    function: Callable[[Any], Any], why: str
):
    with pytest.raises(NotComparableError, match=why):
        assert_matches_eager(function, torch.ones(2, requires_grad=True), eager=function)


def test_argument_that_compiled_leaves_alone_is_found():
    def f(x):
        x.add_(1)
        return x.sum() * 0

    with pytest.raises(DisagreementError) as raised:
        assert_matches_eager(lambda x: x.sum() * 0, torch.zeros(2), eager=f)
    assert raised.value.subject == "argument 0 after the call"


def test_buffer_that_compiled_leaves_alone_is_found():
    model = nn.BatchNorm1d(4)

    class Forgetful(nn.Module):
        def forward(self, x):
            return nn.functional.batch_norm(x, None, None, model.weight, model.bias, training=True)

    with pytest.raises(DisagreementError) as raised:
        assert_matches_eager(Forgetful(), torch.randn(5, 4), eager=model)
    assert raised.value.subject == "buffer running_mean"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda one: one.double(), "dtype: eager torch.float32, compiled torch.float64"),
        (lambda one: one[None], "shape: eager torch.Size([2, 3]), compiled torch.Size([1, 2, 3])"),
        (lambda one: one.detach(), "requires_grad: eager True, compiled False"),
    ],
)
def test_tensor_of_another_kind_is_found(change: Callable[[Any], Any], what: str):
    x = torch.randn(2, 3, requires_grad=True)
    assert what in disagreement(lambda x: x * 2, x, backend=changing_output(change)).reason


def test_strides_are_compared_where_asked():
    transposed = changing_output(lambda one: one.t().contiguous().t())
    x = torch.randn(2, 3)
    assert_matches_eager(lambda x: x * 2, x, compile=by(transposed))
    error = disagreement(lambda x: x * 2, x, backend=transposed, strides=True)
    assert "strides: eager (3, 1), compiled (1, 2)" in error.reason


@pytest.mark.parametrize(
    ("eager", "compiled", "path"),
    [
        ([1], (1,), "output"),
        ({"a": 1}, {"b": 1}, "output"),
        ([], [1], "output"),
        (1, 2, "output"),
        (1.0, 1.001, "output"),
        (None, 0, "output"),
        ("a", "b", "output"),
        (Point(1, [2]), Point(1, [3]), "output.y[0]"),
        (Box(1, Box(2)), Box(1, Box(3)), "output.inner.width"),
        (Bag({"a": 1}), Bag({"a": 2}), "output.held['a']"),
    ],
)
def test_other_values_are_compared_as_well(eager: Any, compiled: Any, path: str):
    with pytest.raises(DisagreementError) as raised:
        assert_matches_eager(lambda: compiled, eager=lambda: eager)
    assert raised.value.subject == path
    assert_matches_eager(lambda: compiled, eager=lambda: compiled)


def test_missing_tensor_is_not_taken_for_one_of_zeros():
    for one, other in ((torch.zeros(2), None), (None, torch.zeros(2)), (torch.zeros(2),) * 2):
        eager, compiled = [one], [other if other is not one else torch.zeros(3)]
        with pytest.raises(DisagreementError):
            assert_matches_eager(lambda c=compiled: c, eager=lambda e=eager: e)


def test_nan_and_infinities_agree_with_themselves_only():
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0])
    agrees(lambda x: x * 1, x)
    for change in (torch.nan_to_num, torch.neg):
        error = disagreement(lambda x: x * 1, x, backend=changing_output(change))
        assert "elements differ" in error.reason


def test_random_numbers_are_the_same_in_both_runs():
    def f(x):
        return nn.functional.dropout(x, 0.5) + torch.rand_like(x) * torch.randint(0, 9, x.shape)

    agrees(f, torch.ones(100, requires_grad=True))
    other = changing_output(lambda one: one + torch.rand_like(one))
    assert "for which torch draws other" in disagreement(f, torch.ones(9), backend=other).reason
