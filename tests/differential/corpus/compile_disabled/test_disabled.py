"""``TORCH_COMPILE_DISABLE``: nothing is compiled, and nothing says so."""

import torch
from torch._dynamo.testing import CompileCounter


def test_function_runs_eager(recwarn):
    counter = CompileCounter()
    assert torch.compile(lambda x: x + 1, backend=counter)(torch.zeros(2)).tolist() == [1, 1]
    assert counter.frame_count == 0
    assert [str(one.message) for one in recwarn if one.category is UserWarning] == []


def test_backend_that_fails_is_never_asked():
    torch.compile(lambda x: x + 1, backend=lambda graph, inputs: 1 / 0)(torch.zeros(2))


def test_module_runs_eager():
    model = torch.nn.Linear(2, 2)
    model.compile(fullgraph=True)
    assert model(torch.ones(1, 2)).shape == (1, 2)


def test_same_object_is_returned():
    def plain(x):
        return x

    assert torch.compile(plain)(1) == 1
