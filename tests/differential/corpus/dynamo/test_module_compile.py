import copy
import pickle

import torch
from torch._dynamo.testing import CompileCounter


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x):
        return self.linear(x).relu() + x


def test_compiles_itself():
    torch._dynamo.reset()
    counter = CompileCounter()
    block = Block()
    block.compile(backend=counter)
    block(torch.ones(2, 3))
    assert counter.frame_count == 1


def test_copy_and_pickle():
    block = Block()
    block.compile(backend="eager")
    block(torch.ones(2, 3))
    again = pickle.loads(pickle.dumps(block))
    assert again._compiled_call_impl is None
    assert copy.deepcopy(block)(torch.ones(2, 3)).shape == (2, 3)


def test_compiled_call_is_torchs_own():
    block = Block()
    block.compile(backend="eager")
    assert block._compiled_call_impl is not None
    module = getattr(block._compiled_call_impl, "__code__").co_filename
    assert "pytest" not in module.replace("pytest-of", "")


def test_compile_of_a_sequential():
    counter = CompileCounter()
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
    model.compile(backend=counter)
    model(torch.ones(2, 3))
    assert counter.frame_count in (0, 1, 2)


def test_method_is_torchs():
    assert torch.nn.Module.compile.__qualname__ == "Module.compile"


def test_optimized_module_is_torchs():
    compiled = torch.compile(Block(), backend="eager")
    assert type(compiled).__name__ == "OptimizedModule"
    assert list(compiled.state_dict()) == ["_orig_mod.linear.weight", "_orig_mod.linear.bias"]
