import pytest
import torch
from torch._dynamo.testing import CompileCounter


@pytest.fixture(scope="module", autouse=True)
def limited():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=1):
        yield
    torch._dynamo.reset()


def negate(x):
    return -x


@pytest.mark.parametrize("number", range(4))
def test_one_graph_for_each_function(number):
    counter = CompileCounter()

    def mine(x):
        return negate(x) + number

    torch._dynamo.reset()
    compiled = torch.compile(mine, backend=counter, dynamic=False)
    for size in range(2, 6):
        compiled(torch.ones(size))
    assert counter.frame_count == 1
    assert torch._dynamo.config.recompile_limit == 1


def test_shared_function_is_compiled_once():
    counter = CompileCounter()
    compiled = torch.compile(negate, backend=counter, dynamic=False)
    for size in range(2, 6):
        compiled(torch.ones(size))
    assert counter.frame_count == 1


def test_shared_function_is_not_compiled_again():
    counter = CompileCounter()
    compiled = torch.compile(negate, backend=counter, dynamic=False)
    for size in range(12, 16):
        compiled(torch.ones(size))
    assert counter.frame_count == 0
