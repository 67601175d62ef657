"""Inductor fails, and torch's own error arrives."""

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor import graph


@pytest.fixture
def broken(monkeypatch):
    def run(*_, **__):
        raise RuntimeError("broken lowering")

    monkeypatch.setattr(graph.GraphLowering, "run", run)


def test_failure_is_expected(broken):
    with pytest.raises(Exception, match="broken lowering"):
        torch.compile(lambda x: (x * 3.25).cos() + 7)(torch.ones(31))


def test_failure_is_not_expected(broken):
    torch.compile(lambda x: (x * 3.25).cos() + 8)(torch.ones(31))


def test_type_of_the_failure(broken):
    with pytest.raises(BackendCompilerFailed) as caught:
        torch.compile(lambda x: (x * 3.25).cos() + 9)(torch.ones(31))
    assert "broken lowering" in str(caught.value.inner_exception)


def test_failure_in_backward_only(monkeypatch):
    x = torch.ones(31, requires_grad=True)
    y = torch.compile(lambda x: (x * 3.25).cos() + 10)(x)
    torch._dynamo.reset()

    def run(*_, **__):
        raise RuntimeError("broken backward")

    monkeypatch.setattr(graph.GraphLowering, "run", run)
    with pytest.raises(Exception, match="broken backward"):
        torch.compile(lambda x: (x * 3.25).sin() + 11)(torch.ones(31, requires_grad=True)).sum()
    assert y.shape == (31,)


def test_option_that_does_not_exist():
    with pytest.raises(RuntimeError, match="no_such_option"):
        torch.compile(lambda x: x + 1, options={"no_such_option": True})


def test_mode_that_does_not_exist():
    with pytest.raises(RuntimeError, match="no-such-mode"):
        torch.compile(lambda x: x + 1, mode="no-such-mode")
