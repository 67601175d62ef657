import pytest
import torch
from torch._dynamo.testing import CompileCounter


def shared(x):
    return x + 3


@pytest.mark.parametrize("number", range(4))
def test_own_function(number):
    def mine(x):
        return x + number

    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(mine, backend=counter, dynamic=False)
    for size in range(2, 8):
        compiled(torch.ones(size))
    assert counter.frame_count == 2


def test_shared_function():
    counter = CompileCounter()
    compiled = torch.compile(shared, backend=counter, dynamic=False)
    for size in range(2, 8):
        compiled(torch.ones(size))
    assert counter.frame_count == 2


def test_shared_function_again():
    counter = CompileCounter()
    compiled = torch.compile(shared, backend=counter, dynamic=False)
    for size in range(12, 18):
        compiled(torch.ones(size))
    assert counter.frame_count == 0


def test_values():
    config = torch._dynamo.config
    assert (config.recompile_limit, config.accumulated_recompile_limit) == (2, 5)
