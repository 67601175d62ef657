"""Equal options make equal backends, for which Dynamo keeps what it compiled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pytest_compilecache.compiling.contracts import Contracts
from tests.compiling.scene import GraphMaker, Scene


def wave(x: torch.Tensor) -> torch.Tensor:
    return x.sin()


@pytest.mark.parametrize("way", ["fixture", "plain"])
def test_twelve_tests_on_one_function_and_shape_trace_it_once(
    way: str, open_scene: Callable[..., Scene], graphs: GraphMaker
):
    scene = open_scene()
    for _ in range(12):
        scene.begin_test()
        compiled = (scene.compile if way == "fixture" else torch.compile)(wave)
        torch.testing.assert_close(compiled(torch.ones(3)), wave(torch.ones(3)))
    assert len(graphs.asked) == 1


@pytest.mark.parametrize(
    ("contracts", "times"),
    [
        (Contracts(never_eager=True), 1),
        (Contracts(fullgraph=True), 1),
        (Contracts(max_graphs=1), 4),
    ],
)
def test_contract_that_counts_is_not_kept_by_what_an_earlier_test_compiled(
    contracts: Contracts, times: int, scene: Scene, graphs: GraphMaker
):
    for _ in range(4):
        scene.begin_test(contracts=contracts)
        scene.compile(wave, fullgraph=True)(torch.ones(3))
    assert len(graphs.asked) == times


def test_full_graph_is_not_broken_by_what_an_earlier_test_compiled_in_parts(
    scene: Scene, graphs: GraphMaker
):
    def breaking(x: torch.Tensor) -> torch.Tensor:
        y = x.sin()
        torch._dynamo.graph_break()
        return y.cos()

    scene.compile(breaking)(torch.ones(3))
    scene.begin_test(contracts=Contracts(fullgraph=True))
    with pytest.raises(RuntimeError, match="graph_break"):
        scene.compile(breaking, fullgraph=True)(torch.ones(3))
