import warnings

import pytest
import torch


def test_compiles():
    torch.compile(lambda x: x.sin() + 51, backend="aot_eager")(torch.ones(3))


def test_gradient_of_what_is_no_leaf():
    x = torch.ones(3, requires_grad=True)
    torch.compile(lambda y: (y * 2).sum(), backend="aot_eager")(x * 1).backward()
    assert x.grad is not None


def test_backend_fails():
    with pytest.raises(Exception, match="refused"):
        torch.compile(lambda x: x + 52, backend=refuses)(torch.ones(3))


def refuses(graph, inputs):
    raise ValueError("refused")


def test_limit():
    with torch._dynamo.config.patch(recompile_limit=1):
        compiled = torch.compile(lambda x: x + 53, backend="eager", dynamic=False)
        for size in (2, 3, 4):
            compiled(torch.ones(size))


def test_force_eager():
    with torch.compiler.set_stance("force_eager"):
        torch.compile(lambda x: x + 54, backend="eager")(torch.ones(3))


def test_warns():
    warnings.warn("an error here", UserWarning, stacklevel=1)
