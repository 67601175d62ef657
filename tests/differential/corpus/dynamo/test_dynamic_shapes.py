"""What is compiled depends on what was compiled before, as it does in torch."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

counter = CompileCounter()


def scale(x):
    return x * 2


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7])
def test_six_sizes(size):
    torch.compile(scale, backend=counter)(torch.ones(size))


def test_two_graphs_for_six_sizes():
    assert counter.frame_count == 2


def test_marked_dynamic():
    mine = CompileCounter()
    x = torch.ones(4)
    torch._dynamo.mark_dynamic(x, 0)
    compiled = torch.compile(lambda x: x * 3, backend=mine)
    compiled(x)
    compiled(torch.ones(9))
    assert mine.frame_count == 1


def test_dynamic_true():
    mine = CompileCounter()
    compiled = torch.compile(lambda x: x * 4, backend=mine, dynamic=True)
    for size in (2, 3, 4):
        compiled(torch.ones(size))
    assert mine.frame_count == 1


def test_ints_become_dynamic():
    mine = CompileCounter()
    compiled = torch.compile(lambda x, n: x * n, backend=mine)
    for number in range(2, 9):
        compiled(torch.ones(3), number)
    assert mine.frame_count == 2
