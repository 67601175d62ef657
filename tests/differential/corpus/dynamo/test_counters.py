import torch
from torch._dynamo.utils import counters


def test_counts_of_one_compile():
    counters.clear()
    torch.compile(lambda x: x.exp() + 1, backend="aot_eager")(torch.ones(3))
    assert counters["frames"] == {"total": 1, "ok": 1}
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


def test_counts_of_a_break():
    counters.clear()

    def breaks(x):
        x = x + 1
        torch._dynamo.graph_break()
        return x * 2

    torch.compile(breaks, backend="eager")(torch.ones(3))
    assert counters["stats"]["unique_graphs"] == 2
    assert sum(counters["graph_break"].values()) == 1


def test_counters_hold_nothing_else():
    counters.clear()
    assert dict(counters) == {}
    torch.compile(lambda x: x.log() + 1, backend="eager")(torch.ones(3))
    assert sorted(counters) == sorted({"frames", "stats"} | (set(counters) & {"aot_autograd"}))


def test_times():
    torch._dynamo.utils.compilation_time_metrics.clear()
    torch.compile(lambda x: x.log1p() + 1, backend="eager")(torch.ones(3))
    assert torch._dynamo.utils.compilation_time_metrics
