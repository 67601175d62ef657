"""A limit that a test sets for itself."""

import torch
from torch._dynamo.testing import CompileCounter


def square(x):
    return x * x


def run(sizes):
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(square, backend=counter, dynamic=False)
    for size in sizes:
        compiled(torch.ones(size))
    return counter.frame_count


@torch._dynamo.config.patch(recompile_limit=1)
def test_limit_of_one_as_a_decorator():
    assert run(range(2, 6)) == 1


def test_limit_of_three_as_a_block():
    with torch._dynamo.config.patch(recompile_limit=3):
        assert run(range(2, 12)) == 3


def test_limit_as_an_assignment():
    before = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = 2
    try:
        assert run(range(2, 12)) == 2
    finally:
        torch._dynamo.config.recompile_limit = before


def test_limit_is_what_it_was():
    assert torch._dynamo.config.recompile_limit == 8
    assert run(range(2, 14)) == 8


@torch._dynamo.config.patch("cache_size_limit", 2)
def test_limit_by_its_old_name():
    assert run(range(2, 12)) == 2
