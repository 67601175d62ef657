import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter

counter = CompileCounter()


def add(x, y):
    return x + y


@settings(max_examples=15, derandomize=True, deadline=None, database=None)
@given(size=st.integers(2, 30))
def test_many_sizes(size):
    got = torch.compile(add, backend=counter)(torch.ones(size), 1)
    assert got.sum().item() == 2 * size


def test_few_graphs_were_compiled():
    assert 1 <= counter.frame_count <= 3


@settings(max_examples=20, derandomize=True, deadline=None, database=None)
@given(size=st.integers(2, 30))
def test_stops_at_the_limit(size):
    torch.compile(lambda x: x * 2, backend=counter, dynamic=False)(torch.ones(size))


@settings(max_examples=20, derandomize=True, deadline=None, database=None)
@given(size=st.integers(0, 30))
def test_fails_with_the_smallest_example(size):
    got = torch.compile(add, backend="eager")(torch.zeros(size), 1)
    assert got.sum().item() < 5


@settings(max_examples=5, derandomize=True, deadline=None, database=None)
@given(size=st.integers(2, 9))
@pytest.mark.parametrize("by", [1, 2])
def test_parametrized(size, by):
    assert torch.compile(add, backend="eager")(torch.zeros(size), by).sum().item() == by * size
