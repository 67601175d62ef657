"""Compiled and eager start alike, whatever a model keeps, and nothing is left changed."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytest_compilecache import assert_matches_eager
from pytest_compilecache.errors import DisagreementError, NotComparableError
from tests.unit.wrong_backends import agrees, by, changing_gradients, changing_output, disagreement


class Stateful(nn.Module):
    """Everything that a run can change: statistics, a counter, a list, a cache, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("total", torch.zeros(4))
        self.calls = 0
        self.log: list[int] = []
        self.cache: dict[str, Any] = {}

    def forward(self, x):
        self.calls += 1
        self.log.append(self.calls)
        self.cache["last"] = x.detach().sum()
        self.total = self.total + x.detach().sum(0)
        return self.norm(self.linear(x))


class Doubling(nn.Module):
    def forward(self, x):
        return x * 2


def test_model_with_state_agrees_and_is_left_as_one_eager_run_leaves_it():
    torch.manual_seed(0)
    model, twin = Stateful(), Stateful()
    twin.load_state_dict(model.state_dict())
    x = torch.randn(5, 4)
    model.linear.weight.grad = kept = torch.ones(4, 4)
    buffer, log = model.norm.running_mean, model.log
    agrees(model, x)
    twin(x)
    assert model.calls == 1
    assert model.log is log
    assert log == [1]
    assert torch.equal(model.cache["last"], twin.cache["last"])
    assert model.norm.running_mean is buffer
    for name, expected in twin.state_dict().items():
        assert torch.equal(model.state_dict()[name], expected), name
    assert model.linear.weight.grad is kept
    assert torch.equal(kept, torch.ones(4, 4))
    assert model.linear.bias.grad is None


def test_arguments_and_generators_are_left_as_they_were():
    def f(x, rows):
        rows.append(x.add_(1))
        return x + torch.rand(2) + random.random()

    x, rows = torch.zeros(2), [torch.zeros(1)]
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[2]  # noqa: NPY002
    assert_matches_eager(f, x, rows, eager=f)
    assert torch.equal(x, torch.zeros(2))
    assert len(rows) == 1
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[2])  # noqa: NPY002


def test_arguments_that_share_memory_are_compared_as_they_are():
    def f(x, y):
        y.add_(1)
        return x * 2

    whole = torch.zeros(6)
    for arguments in ((whole, whole[2:]), (whole[:4], whole[2:]), (whole, whole)):
        agrees(f, *arguments)
        with pytest.raises(DisagreementError) as raised:
            assert_matches_eager(lambda x, y: f(x.clone(), y), *arguments, eager=f)
        assert raised.value.subject == "output"
    assert not whole.any()


def test_graph_of_the_tests_own_survives():
    model = Stateful()
    loss = model(torch.randn(5, 4)).square().mean()
    agrees(model.eval(), torch.randn(5, 4))
    loss.backward()
    assert model.linear.weight.grad is not None


def test_state_of_a_function_is_found_in_its_closure():
    model = nn.BatchNorm1d(4)

    def loss(x):
        return model(x).square().mean()

    agrees(loss, torch.randn(5, 4))
    assert model.num_batches_tracked == 1
    backend = changing_gradients(lambda one: one * 2)
    error = disagreement(loss, torch.randn(5, 4), backend=backend)
    assert error.subject == "gradient of model.weight"


def test_module_among_the_arguments_is_state_and_no_copy():
    model = nn.BatchNorm1d(4)
    agrees(lambda model, x: model(x), model, torch.randn(5, 4))
    assert model.num_batches_tracked == 1


def test_unused_parameter_and_shared_parameter_agree():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)
            self.same = self.one

        def forward(self, x):
            return self.one(self.same(x))

    agrees(Odd(), torch.randn(2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_types_agree_with_gradients(dtype: Any):
    agrees(lambda x: (x * x).cumsum(0), torch.ones(3, dtype=dtype, requires_grad=True))


def test_compiled_module_and_function_are_compared_with_what_they_were_made_of():
    wrong = changing_output(lambda one: one + 1)
    model = nn.Linear(2, 2)
    for compiled in (by(wrong)(model), by(wrong)(lambda x: model(x) * 2)):
        with pytest.raises(DisagreementError):
            assert_matches_eager(compiled, torch.ones(1, 2))


def test_compiled_parts_and_modules_that_compile_themselves_run_eager_for_comparison():
    wrong = changing_output(lambda one: one + 1)
    parts = nn.Sequential(by(wrong)(nn.Linear(2, 2)), nn.Identity())
    itself = Doubling()  # Dynamo takes none of torch's own modules here
    itself.compile(backend=wrong)
    for model in (parts, itself):
        with pytest.raises(DisagreementError):
            assert_matches_eager(model, torch.ones(1, 2), compile=_must_not_be_called)


def _must_not_be_called(_: Any) -> Any:
    raise AssertionError("it is compiled already")


def test_compiled_before_with_other_random_numbers_gets_the_remedy():
    def other_numbers(graph, inputs):
        def run(*values):
            torch.rand(1)
            return graph.forward(*values)

        return run

    compiled = by(other_numbers)(lambda x: x + torch.rand_like(x))
    with pytest.raises(DisagreementError, match="fallback_random"):
        assert_matches_eager(compiled, torch.ones(4))


def test_error_that_both_raise_arrives_as_eager_raises_it():
    def f(x):
        raise KeyError("mine")

    for fullgraph in (False, True):
        compiler = by("aot_eager", fullgraph=fullgraph)
        with pytest.raises(KeyError, match="mine"):
            assert_matches_eager(f, torch.ones(1), compile=compiler)


def test_error_that_only_one_raises_is_found():
    def fails(x):
        raise KeyError("mine")

    with pytest.raises(DisagreementError, match="eager raises, compiled does not"):
        assert_matches_eager(torch.sin, torch.ones(1), eager=fails)
    with pytest.raises(KeyError):
        assert_matches_eager(fails, torch.ones(1), eager=torch.sin)


def test_state_is_restored_also_when_compiled_fails():
    model = Stateful()

    def fails(graph, inputs):
        def run(*values):
            model.total.fill_(9)
            raise MemoryError

        return run

    with pytest.raises(MemoryError):
        assert_matches_eager(model, torch.zeros(5, 4), compile=by(fails))
    assert model.calls == 1
    assert torch.equal(model.total, torch.zeros(4))


def test_what_cannot_be_compared_or_copied_is_refused_with_its_name():
    with pytest.raises(NotComparableError, match="output: a meta tensor"):
        assert_matches_eager(
            lambda: torch.empty(2, device="meta"), eager=lambda: torch.empty(2, device="meta")
        )
    with pytest.raises(NotComparableError, match="the arguments: they cannot be copied"):
        agrees(lambda _, x: x, threading.Lock(), torch.ones(1))
    with pytest.raises(NotComparableError, match="parameter weight: it has no shape"):
        agrees(nn.LazyLinear(2), torch.ones(1, 2))


def test_sparse_tensors_are_compared_by_what_they_stand_for():
    eager = torch.eye(3).to_sparse()
    assert_matches_eager(lambda: eager * 1, eager=lambda: eager)
    with pytest.raises(DisagreementError, match="3 of 9 elements differ"):
        assert_matches_eager(lambda: eager * 2, eager=lambda: eager)
