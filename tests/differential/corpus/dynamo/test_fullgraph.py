import pytest
import torch
from torch._dynamo.exc import Unsupported


def breaks(x):
    x = x + 1
    torch._dynamo.graph_break()
    return x * 2


def test_break_is_refused():
    with pytest.raises(Unsupported):
        torch.compile(breaks, backend="eager", fullgraph=True)(torch.ones(2))


def test_break_is_allowed_without():
    assert torch.compile(breaks, backend="eager")(torch.ones(2)).tolist() == [4, 4]


def test_break_is_refused_where_nothing_expects_it():
    torch.compile(breaks, backend="eager", fullgraph=True)(torch.ones(3))


def test_error_of_the_function_under_fullgraph():
    def refuses(x):
        raise ValueError("refused")

    with pytest.raises((Unsupported, ValueError)):
        torch.compile(refuses, backend="eager", fullgraph=True)(torch.ones(3))


def test_data_dependent_branch():
    def branch(x):
        return x + 1 if x.sum() > 0 else x - 1

    with pytest.raises(Unsupported, match="[Dd]ata-dependent"):
        torch.compile(branch, backend="eager", fullgraph=True)(torch.ones(3))


def test_error_on_graph_break_region():
    region = getattr(torch._dynamo, "error_on_graph_break", None)
    if region is None:
        pytest.skip("torch before 2.9")
    with region(True), pytest.raises(Unsupported):
        torch.compile(breaks, backend="eager")(torch.ones(5))
