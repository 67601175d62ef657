"""A backend that fails: its error arrives, wrapped as torch wraps it."""

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed


def failing(graph, inputs):
    raise ValueError("no such instruction")


def test_error_of_a_backend_is_expected():
    with pytest.raises(BackendCompilerFailed, match="no such instruction"):
        torch.compile(lambda x: x + 1, backend=failing)(torch.ones(3))


def test_error_of_a_backend_is_not_expected():
    torch.compile(lambda x: x + 2, backend=failing)(torch.ones(3))


def test_inner_exception_is_kept():
    with pytest.raises(BackendCompilerFailed) as caught:
        torch.compile(lambda x: x + 3, backend=failing)(torch.ones(3))
    assert isinstance(caught.value.inner_exception, ValueError)


def test_unknown_backend():
    with pytest.raises(RuntimeError, match="nonsense"):
        torch.compile(lambda x: x + 4, backend="nonsense")(torch.ones(3))


def test_backend_that_returns_nothing():
    with pytest.raises(Exception, match="callable"):
        torch.compile(lambda x: x + 5, backend=lambda graph, inputs: None)(torch.ones(3))


def test_aot_backend_that_fails():
    from torch._dynamo.backends.common import aot_autograd

    with pytest.raises(BackendCompilerFailed, match="no such instruction"):
        torch.compile(lambda x: x + 6, backend=aot_autograd(fw_compiler=failing))(torch.ones(3))
