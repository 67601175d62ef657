"""``torch.compiler.save_cache_artifacts`` around a session, as torch's documentation shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_sessionstart() -> None:
    """Load the bundle before anything compiles."""
    import torch  # noqa: PLC0415
    import torch._dynamo  # noqa: PLC0415  (or the artifacts' types are unknown)

    bundle = Path(os.environ["MEGA_CACHE_FILE"])
    if bundle.exists():
        torch.compiler.load_cache_artifacts(bundle.read_bytes())


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Save a bundle if there is none: a second save in one process loses the first."""
    import torch  # noqa: PLC0415

    bundle = Path(os.environ["MEGA_CACHE_FILE"])
    if not bundle.exists():
        artifacts = torch.compiler.save_cache_artifacts()
        if artifacts is not None:
            bundle.write_bytes(artifacts[0])
