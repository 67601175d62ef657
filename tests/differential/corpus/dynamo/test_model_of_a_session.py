import pytest
import torch
from torch._dynamo.testing import CompileCounter

counter = CompileCounter()


@pytest.fixture(scope="session")
def compiled():
    torch._dynamo.reset()
    torch.manual_seed(0)
    return torch.compile(torch.nn.Linear(4, 4), backend=counter)


@pytest.mark.parametrize("number", range(5))
def test_is_traced_once(compiled, number):
    compiled(torch.ones(2, 4))
    assert counter.frame_count == 1


def test_second_batch_size_is_traced_as_dynamic(compiled):
    for size in (3, 5, 7):
        compiled(torch.ones(size, 4))
    assert counter.frame_count == 2
