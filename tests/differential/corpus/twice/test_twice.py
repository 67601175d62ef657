"""Run twice in one process, by a program that has imported torch before."""

import pytest
import torch


def grow(x):
    return x + 81


def refuses(graph, inputs):
    raise ValueError("refused")


def test_compiles():
    torch.compile(lambda x: x.sin() + 81)(torch.ones(3))


def test_shared_function():
    torch.compile(grow, backend="aot_eager")(torch.ones(3))


@pytest.mark.parametrize("size", range(2, 12))
def test_function_that_uses_its_limit_up(size):
    torch.compile(grow, backend="eager", dynamic=False)(torch.ones(size))


def test_fails():
    torch.compile(lambda x: x + 82, backend=refuses)(torch.ones(3))


def test_fails_as_expected():
    with pytest.raises(Exception, match="refused"):
        torch.compile(lambda x: x + 83, backend=refuses)(torch.ones(3))
