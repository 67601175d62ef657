"""The model of the archive, in TorchServe's eager mode: a file with one class."""

from __future__ import annotations

import torch


class Scorer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(16, 64)
        self.scores = torch.nn.Linear(64, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.scores(torch.nn.functional.gelu(self.hidden(rows)))
