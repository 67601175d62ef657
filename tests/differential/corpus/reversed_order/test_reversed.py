"""As under pytest-randomly: what a test compiles depends on the tests before it."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

counter = CompileCounter()


def scale(x):
    return x * 5


def test_last_of_all():
    assert counter.frame_count == 9


@pytest.mark.parametrize("size", range(2, 8))
def test_sizes(size):
    torch.compile(scale, backend=counter)(torch.ones(size, 2))


@pytest.mark.parametrize("size", range(2, 14))
def test_static_sizes(size):
    torch.compile(lambda x: x * 7, backend="eager", dynamic=False)(torch.ones(size))


def shrink(x):
    return x / 2


@pytest.mark.parametrize("size", range(2, 12))
def test_many_static_sizes(size):
    torch.compile(shrink, backend=counter, dynamic=False)(torch.ones(size))
