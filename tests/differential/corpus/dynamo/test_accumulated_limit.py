import pytest
import torch
from torch._dynamo.testing import CompileCounter


def halve(x, by):
    return x / 2 + by


@pytest.fixture(autouse=True)
def limited():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(accumulated_recompile_limit=3, recompile_limit=8):
        yield
    torch._dynamo.reset()


def test_all_versions_of_one_function_together():
    counter = CompileCounter()
    compiled = torch.compile(halve, backend=counter, dynamic=False)
    for size in range(2, 12):
        compiled(torch.ones(size), 1)
    assert counter.frame_count == 3


def test_again_after_a_reset():
    counter = CompileCounter()
    compiled = torch.compile(halve, backend=counter, dynamic=False)
    for size in range(2, 12):
        compiled(torch.ones(size), 1)
    assert counter.frame_count == 3
    assert torch._dynamo.config.accumulated_recompile_limit == 3
