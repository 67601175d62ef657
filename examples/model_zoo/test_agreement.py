"""Every architecture computes what it computes without torch.compile, gradients included."""

from __future__ import annotations

import pytest

# dynamic=False: no shape is guessed from what another test in this process compiled.
pytestmark = pytest.mark.compiled(fullgraph=True, dynamic=False)


def test_agrees_with_eager(assert_matches_eager, model, inputs):
    assert_matches_eager(model, **inputs, gradients=True, rtol=1e-3, atol=1e-4)
