"""A failure's traceback holds torch's frames and the suite's own."""

import traceback

import pytest
import torch


def files_of(error):
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def test_failing_backend():
    with pytest.raises(Exception) as caught:
        torch.compile(lambda x: x + 1, backend=lambda graph, inputs: 1 / 0)(torch.ones(3))
    assert all("torch" in name or name == __file__ for name in files_of(caught.value))


def test_failing_function():
    def refuses(x):
        torch._dynamo.graph_break()
        raise LookupError("not there")

    with pytest.raises(LookupError) as caught:
        torch.compile(refuses, backend="eager")(torch.ones(3))
    assert files_of(caught.value)[-1] == __file__


def test_error_context_is_none():
    with pytest.raises(LookupError) as caught:
        torch.compile(lambda x: {}[x.shape[0]], backend="eager")(torch.ones(3))
    assert caught.value.__cause__ is None
