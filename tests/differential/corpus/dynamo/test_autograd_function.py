import pytest
import torch


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("no gradient")


def test_gradient():
    x = torch.ones(3, requires_grad=True)
    torch.compile(lambda x: Doubled.apply(x) + 1, backend="aot_eager")(x).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_failing_gradient():
    x = torch.ones(3, requires_grad=True)
    with pytest.raises(Exception, match="no gradient"):
        torch.compile(lambda x: Broken.apply(x) + 1, backend="eager")(x).sum().backward()
