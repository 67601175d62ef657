"""What every test here gets: a model, its inputs, and no network."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read once, when transformers is imported

import pytest
import torch
from torch import nn
from zoo import ARCHITECTURES, Architecture


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> Architecture:
    chosen = ARCHITECTURES[request.param]
    if torch.__version__ < chosen.since:
        pytest.skip(f"Dynamo captures {chosen.name} in one graph since torch {chosen.since}")
    return chosen


@pytest.fixture
def model(architecture: Architecture) -> nn.Module:
    torch.manual_seed(0)
    return architecture.build().eval()


@pytest.fixture
def inputs(architecture: Architecture) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return architecture.inputs()
