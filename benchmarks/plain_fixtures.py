"""The zoo's fixtures by plain ``torch.compile``: what a project has without us."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, so that strict projects load."""
    config.addinivalue_line("markers", "compiled: arguments of torch.compile")


@pytest.fixture
def compile_model(request: pytest.FixtureRequest) -> Any:
    """A function that compiles as the test's mark says."""
    import torch  # noqa: PLC0415

    options: dict[str, Any] = {}
    for mark in request.node.iter_markers("compiled"):
        options = {**mark.kwargs, **options}
    return lambda model, **overrides: torch.compile(model, **{**options, **overrides})


@pytest.fixture
def compile_stats() -> Any:
    """What the zoo asks of it, unmeasured: without us nobody counts."""
    return SimpleNamespace(recompiles=0)


@pytest.fixture
def compiled_model(compile_model: Any, model: Any) -> Any:
    """The ``model`` fixture, compiled."""
    return compile_model(model)


@pytest.fixture
def assert_matches_eager(compile_model: Any) -> Any:
    """The same comparison as ours, of what plain ``torch.compile`` made."""
    from pytest_compilecache import assert_matches_eager  # noqa: PLC0415

    return functools.partial(assert_matches_eager, compile=compile_model)
