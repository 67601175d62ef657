import os

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor import utils


def names():
    return [name for name in ("fresh_inductor_cache", "fresh_cache") if hasattr(utils, name)]


@pytest.mark.parametrize("name", names())
def test_misses_in_a_fresh_cache(name):
    torch._dynamo.reset()
    counters.clear()
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with getattr(utils, name)():
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] != before
        torch.compile(lambda x: x.sin() * 2)(torch.ones(5))
        assert counters["inductor"]["fxgraph_cache_miss"] == 1
        assert counters["inductor"]["fxgraph_cache_hit"] == 0
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == before


def test_hits_in_the_same_fresh_cache():
    with utils.fresh_inductor_cache():
        for _ in range(2):
            torch._dynamo.reset()
            counters.clear()
            torch.compile(lambda x: x.cos() * 2)(torch.ones(5))
        assert counters["inductor"]["fxgraph_cache_hit"] == 1


def test_entries_of_a_fresh_cache():
    torch._dynamo.reset()
    entries = {}
    with utils.fresh_inductor_cache(entries):
        torch.compile(lambda x: x.tan() * 2)(torch.ones(5))
    assert all(isinstance(name, str) for name in entries)


def test_caches_that_are_off():
    torch._dynamo.reset()
    counters.clear()
    with torch._inductor.config.patch(force_disable_caches=True):
        torch.compile(lambda x: x.sin() * 2)(torch.ones(5))
    assert counters["inductor"]["fxgraph_cache_miss"] == 0
    assert counters["inductor"]["fxgraph_cache_hit"] == 0
