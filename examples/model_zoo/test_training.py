"""Steps of training are those of eager."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.compiled(fullgraph=True, dynamic=False)


@pytest.mark.parametrize("architecture", ["gpt2"], indirect=True)
def test_training_steps_agree_with_eager(compile_model, model, inputs):
    twin = copy.deepcopy(model)
    compiled = train(model, compile_model(language_loss(model)), inputs)
    eager = train(twin, language_loss(twin), inputs)
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
    assert compiled == sorted(compiled, reverse=True), "three steps on one batch lower its loss"


def language_loss(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """How badly the model foretells each next token."""

    def loss(input_ids: torch.Tensor) -> torch.Tensor:
        logits = model(input_ids=input_ids).logits[:, :-1]
        return nn.functional.cross_entropy(logits.flatten(0, 1), input_ids[:, 1:].flatten())

    return loss


def train(
    model: nn.Module,
    loss_of: Callable[..., torch.Tensor],
    inputs: dict[str, torch.Tensor],
    steps: int = 3,
) -> list[float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(**inputs)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
