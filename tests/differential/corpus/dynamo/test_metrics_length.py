"""Torch keeps the metrics of its last 64 compiles."""

import torch
from torch._dynamo.utils import get_compilation_metrics


def grow(x):
    return x + 1


def test_sixty_four_are_kept():
    for _ in range(70 - len(get_compilation_metrics())):
        torch._dynamo.reset()
        torch.compile(grow, backend="eager")(torch.ones(2))
    assert len(get_compilation_metrics()) == 64


def test_they_are_those_of_the_last():
    torch._dynamo.utils.clear_compilation_metrics()
    torch.compile(lambda x: x + 100, backend="eager")(torch.ones(2))
    (metrics,) = get_compilation_metrics()
    assert metrics.co_name == "<lambda>"
    assert metrics.fail_type is None


def test_earlier_ones_are_there_in_the_next_test():
    assert len(get_compilation_metrics()) == 1
