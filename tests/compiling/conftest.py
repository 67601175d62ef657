from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compiling.scene import GraphMaker, Scene


@pytest.fixture(scope="session", autouse=True)
def inductor() -> None:
    """What torch loads at the first compile, and warns of by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("torch._dynamo", "torch._inductor.compile_fx", "functorch.compile"):
            importlib.import_module(name)


@pytest.fixture
def open_scene(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Scene]]:
    """Opens a session around a test of the given fallback mode, None for one without our mark."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    scenes: list[Scene] = []

    def open_one(mode: str | None = "eager") -> Scene:
        scenes.append(Scene(request.node, mode))
        return scenes[-1]

    yield open_one
    for scene in scenes:
        scene.end()


@pytest.fixture
def scene(open_scene: Callable[..., Scene]) -> Scene:
    return open_scene()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> GraphMaker:
    """Inductor's innermost compiler, which fails on request."""
    maker = GraphMaker()
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx_inner", maker)
    return maker
