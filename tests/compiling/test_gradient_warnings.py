"""Torch's own look at a gradient stops no compilation of ours where warnings are errors.

Torch looks at each input of a graph, and warns of what another layer computed; a plain call
gets what torch gives it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.compiling.scene import GraphMaker, Scene


def computed() -> torch.Tensor:
    return torch.ones(3, requires_grad=True) * 2


def wave(x: torch.Tensor) -> torch.Tensor:
    return x.sin()


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).relu()


class Deep(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(Block() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("way", ["fixture", "asked"])
def test_compilation_that_was_asked_of_us_goes_on(
    way: str, open_scene: Callable[..., Scene], graphs: GraphMaker
):
    scene = open_scene("fail")
    compile_it: Callable[..., Any] = scene.compile if way == "fixture" else torch.compile
    torch.testing.assert_close(compile_it(wave)(computed()), wave(computed()))
    assert len(graphs.asked) == 1


def test_blocks_of_a_model_are_compiled_each(scene: Scene, graphs: GraphMaker):
    scene.compile(Deep(), regional=True)(torch.ones(2, 3))
    assert "fallback" not in scene.kinds()
    assert graphs.asked


def test_plain_call_gets_what_torch_gives_it(open_scene: Callable[..., Scene]):
    open_scene(None)
    with pytest.raises(RuntimeError, match="grad attribute of a Tensor that is not a leaf"):
        torch.compile(wave, backend="eager")(computed())
