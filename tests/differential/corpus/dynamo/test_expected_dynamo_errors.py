"""Dynamo's own breakdowns are expected, and arrive as they are."""

import pytest
import torch
from torch._dynamo import output_graph
from torch._dynamo.exc import InternalTorchDynamoError, TorchRuntimeError


def test_breakdown_of_dynamo_arrives(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("broken Dynamo")

    monkeypatch.setattr(output_graph.OutputGraph, "compile_and_call_fx_graph", broken)
    with pytest.raises(Exception, match="broken Dynamo"):
        torch.compile(lambda x: x.sinh() + 7, backend="eager")(torch.ones(31))


def test_breakdown_of_dynamo_is_a_failure_that_is_not_expected(monkeypatch):
    def broken(*_, **__):
        raise KeyError("broken Dynamo")

    monkeypatch.setattr(output_graph.OutputGraph, "compile_and_call_fx_graph", broken)
    torch.compile(lambda x: x.cosh() + 7, backend="eager")(torch.ones(31))


def test_type_of_a_breakdown(monkeypatch):
    def broken(*_, **__):
        raise IndexError("out of range")

    monkeypatch.setattr(output_graph.OutputGraph, "compile_and_call_fx_graph", broken)
    with pytest.raises(Exception, match="out of range") as caught:
        torch.compile(lambda x: x.tan() + 7, backend="eager")(torch.ones(31))
    assert isinstance(caught.value, (InternalTorchDynamoError, IndexError))


def test_shapes_that_do_not_fit():
    with pytest.raises((TorchRuntimeError, RuntimeError)) as caught:
        torch.compile(lambda x, y: x @ y, backend="eager")(torch.ones(2, 3), torch.ones(2, 3))
    assert "2x3 and 2x3" in str(caught.value) or "size" in str(caught.value)


def test_error_of_the_function_itself():
    def divide(x, by):
        if by == 0:
            raise ZeroDivisionError("by nothing")
        return x / by

    with pytest.raises(ZeroDivisionError, match="by nothing"):
        torch.compile(divide, backend="eager")(torch.ones(3), 0)


def test_errors_are_suppressed_where_asked(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("broken Dynamo")

    monkeypatch.setattr(output_graph.OutputGraph, "compile_and_call_fx_graph", broken)
    with torch._dynamo.config.patch(suppress_errors=True):
        got = torch.compile(lambda x: x.asinh() + 7, backend="eager")(torch.zeros(3))
    assert got.tolist() == [7, 7, 7]
