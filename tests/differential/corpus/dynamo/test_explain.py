import torch


def breaks_twice(x):
    x = x + 1
    torch._dynamo.graph_break()
    x = x * 2
    torch._dynamo.graph_break()
    return x - 3


def test_explains_two_breaks():
    explained = torch._dynamo.explain(breaks_twice)(torch.ones(3))
    assert (explained.graph_count, explained.graph_break_count) == (3, 2)


def test_explains_after_a_compile():
    torch.compile(breaks_twice, backend="eager")(torch.ones(3))
    explained = torch._dynamo.explain(breaks_twice)(torch.ones(3))
    assert explained.graph_count == 3


def test_explains_nothing_to_break():
    explained = torch._dynamo.explain(lambda x: x + 1)(torch.ones(3))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
    assert "Graph Count: 1" in str(explained)
