"""A cached library that does not load is worth one more try, and not two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.compiling.scene import GraphMaker, Scene


@pytest.fixture
def library(scene: Scene) -> Path:
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) / "ab"
    folder.mkdir(parents=True)
    (folder / "cab.main.so").write_bytes(b"\x7fELF")
    return folder / "cab.main.so"


def unloadable(library: Path) -> ImportError:
    return ImportError(f"{library}: file too short", path=str(library))


def wave(x: torch.Tensor) -> torch.Tensor:
    return x.sin()


def test_library_that_loads_when_it_is_built_anew_is_no_fallback(
    scene: Scene, graphs: GraphMaker, library: Path
):
    graphs.fails = lambda number, _: unloadable(library) if number == 1 else None
    torch.testing.assert_close(scene.compile(wave)(torch.ones(3)), wave(torch.ones(3)))
    assert scene.set_aside == [library]
    (event,) = scene.events
    assert event.kind == "repair"
    assert "cab.main.so did not load" in event.reason


def test_library_that_never_loads_falls_back(scene: Scene, graphs: GraphMaker, library: Path):
    graphs.fail_all(unloadable(library))
    with pytest.warns(UserWarning, match="file too short"):
        torch.testing.assert_close(scene.compile(wave)(torch.ones(3)), wave(torch.ones(3)))
    assert len(graphs.asked) == 2
    assert scene.set_aside == [library]
    assert scene.kinds() == ["repair", "fallback"]


def test_library_of_somebody_elses_is_left_alone(scene: Scene, graphs: GraphMaker, tmp_path: Path):
    theirs = tmp_path / "theirs.so"
    theirs.write_bytes(b"")
    graphs.fail_all(unloadable(theirs))
    with pytest.warns(UserWarning, match="file too short"):
        scene.compile(wave)(torch.ones(3))
    assert scene.set_aside == []
