"""Tests that pass cold and fail warm, as they do with a cache folder of torch's own that is kept."""

import torch
from torch._dynamo.utils import counters
from torch._inductor.utils import run_and_get_code


def test_asserts_a_miss():
    counters.clear()
    torch.compile(lambda x: x.sin() + 31)(torch.ones(33))
    assert counters["inductor"]["fxgraph_cache_miss"] == 1


def test_reads_generated_code():
    _, code = run_and_get_code(torch.compile(lambda x: x.sin() + 32), torch.ones(34))
    assert len(code) == 1
    assert "sin" in code[0]


def test_writes_generated_code_to_the_log(caplog):
    torch._logging.set_logs(output_code=True)
    try:
        torch.compile(lambda x: x.sin() + 35)(torch.ones(36))
    finally:
        torch._logging.set_logs()
    assert "cpp_fused" in caplog.text
