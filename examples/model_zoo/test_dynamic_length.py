"""One compilation serves sequences of every length."""

from __future__ import annotations

import pytest
import torch
from zoo import tokens

LENGTHS = (8, 12, 24, 33)


# mark_dynamic rather than dynamic=True: that makes floats symbolic as well, for which
# Dynamo starts over, and then torch counts a miss of its AOTAutograd cache every time.
@pytest.mark.compiled(fullgraph=True)
@pytest.mark.parametrize("architecture", ["qwen3"], indirect=True)
@torch.no_grad()
def test_one_graph_for_all_lengths(compile_model, compile_stats, model):
    def logits(input_ids, attention_mask):
        return model(input_ids=input_ids, attention_mask=attention_mask).logits

    compiled = compile_model(logits)
    for length in LENGTHS:
        batch = ragged_batch(length)
        torch.testing.assert_close(compiled(*batch), logits(*batch), rtol=1e-4, atol=1e-5)
    assert compile_stats.recompiles == 0


def ragged_batch(length):
    """Tokens and their mask, the second sequence half as long as the first."""
    torch.manual_seed(length)
    input_ids = tokens(length)
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, length // 2 :] = 0
    for tensor in (input_ids, attention_mask):
        torch._dynamo.mark_dynamic(tensor, 1)  # noqa: SLF001 # its documented name
    return input_ids, attention_mask
