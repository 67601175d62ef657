"""Every architecture computes what it computes without torch.compile."""

from __future__ import annotations

import pytest
import torch

# dynamic=False: no shape is guessed from what another test in this process compiled.
pytestmark = pytest.mark.compiled(fullgraph=True, dynamic=False)


@torch.no_grad()
def test_agrees_with_eager(compiled_model, model, inputs):
    torch.testing.assert_close(compiled_model(**inputs), model(**inputs), rtol=1e-4, atol=1e-5)
