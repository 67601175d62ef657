"""Counts stop at the limit of eight, whatever ran before."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend


def shared(x):
    return x.sin() + 1


def used_up(x):
    return x.cos() + 1


@pytest.mark.parametrize("number", range(3))
def test_stops_at_eight(number):
    def mine(x):
        return x + number

    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(mine, backend=counter, dynamic=False)
    for size in range(2, 14):
        compiled(torch.ones(size))
    assert counter.frame_count == 8


def test_uses_the_limit_up():
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(used_up, backend=counter, dynamic=False)
    for size in range(2, 14):
        compiled(torch.ones(size))
    assert counter.frame_count == 8


def test_finds_the_limit_used_up():
    counter = CompileCounter()
    compiled = torch.compile(used_up, backend=counter, dynamic=False)
    compiled(torch.ones(99))
    assert counter.frame_count == 0


def test_ops_are_counted():
    counter = CompileCounterWithBackend("aot_eager")
    torch.compile(shared, backend=counter)(torch.ones(3))
    assert (counter.frame_count, counter.op_count) == (1, 2)


def test_second_object_compiles_again():
    first, second = CompileCounter(), CompileCounter()
    torch.compile(shared, backend=first)(torch.ones(3))
    torch.compile(shared, backend=second)(torch.ones(3))
    assert (first.frame_count, second.frame_count) == (1, 1)
