import pytest
import torch
from torch._dynamo.exc import RecompileError


def double(x):
    return x * 2


def test_second_shape_raises():
    compiled = torch.compile(double, backend="eager", dynamic=False)
    compiled(torch.ones(2))
    with torch._dynamo.config.patch(error_on_recompile=True), pytest.raises(RecompileError):
        compiled(torch.ones(3))


def test_second_shape_raises_although_another_test_compiled_it():
    compiled = torch.compile(double, backend="eager", dynamic=False)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled(torch.ones(2))
        with pytest.raises(RecompileError):
            compiled(torch.ones(5))


def test_second_shape_raises_where_nothing_expects_it():
    compiled = torch.compile(double, backend="eager", dynamic=False)
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled(torch.ones(7))
