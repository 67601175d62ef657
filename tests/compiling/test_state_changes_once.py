"""Whatever fails to compile: results and state are those of eager, and nothing is applied twice."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiling.scene import BrokenKernelError, GraphMaker, Scene

STEPS = ("scale", "linear", "count", "buffer", "append", "extend", "break", "inner", "sin")


class Inner(torch.nn.Module):
    """A part with a state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean.mul_(0.9).add_(x.detach().mean(0))
        return x * 3


class Stateful(torch.nn.Module):
    """Does the steps that it is given, and leaves traces of each."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self.steps = steps
        self.linear = torch.nn.Linear(3, 3)
        self.inner = Inner()
        self.register_buffer("total", torch.zeros(3))
        self.count = 0
        self.seen: list[Any] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for step in self.steps:
            x = getattr(self, step + "_")(x)
        return x

    def scale_(self, x: torch.Tensor) -> torch.Tensor:
        return x * (self.count + 2)

    def linear_(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)

    def count_(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return x + 1

    def buffer_(self, x: torch.Tensor) -> torch.Tensor:
        self.total += x.detach().sum(0)
        # Not x + self.total: torch 2.13 itself recomputes that in the backward from the buffer
        # as it is after the change, and gives a wrong gradient.
        return x + 2

    def append_(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.detach() * 2)
        return x

    def extend_(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += [len(self.seen), -1]
        return x * len(self.seen)

    def break_(self, x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return x

    def inner_(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)

    def sin_(self, x: torch.Tensor) -> torch.Tensor:
        return x.sin()


@dataclass(frozen=True)
class Trouble:
    """Which graphs, and which frames, do not compile, each by its number."""

    graphs: frozenset[int] = frozenset()
    frames: frozenset[int] = frozenset()


def numbers() -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(1, 6), max_size=3)


@st.composite
def troubles(draw: st.DrawFn) -> Trouble:
    return Trouble(draw(numbers()), draw(numbers()))


def make_trouble(trouble: Trouble, graphs: GraphMaker, patch: pytest.MonkeyPatch) -> list[Any]:
    """Let Inductor and Dynamo fail as told; the list will hold each frame that is tried."""
    broken = BrokenKernelError("no kernel for this")
    graphs.fails = lambda number, _: broken if number in trouble.graphs else None
    translator = torch._dynamo.symbolic_convert.InstructionTranslator
    run, frames = translator.run, []

    def run_or_fail(self: Any) -> Any:
        frames.append(self)
        if len(frames) in trouble.frames:
            raise AttributeError("a bug of Dynamo's")
        return run(self)

    patch.setattr(translator, "run", run_or_fail)
    return frames


def train(model: Stateful, call: Any, calls: int) -> list[torch.Tensor]:
    """Call it forward and backward, and hand back all that it gave."""
    results = []
    for number in range(calls):
        x = torch.linspace(-1, 1, 6).reshape(2, 3) + number
        y = call(x.requires_grad_())
        y.sum().backward()
        results += [y.detach(), x.grad]
    return [*results, *(one.grad for one in model.parameters() if one.grad is not None)]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=6),
    trouble=troubles(),
    fullgraph=st.booleans(),
    calls=st.integers(1, 2),
)
def test_results_and_state_are_eagers_whatever_fails(
    steps: list[str], trouble: Trouble, fullgraph: bool, calls: int
):
    if fullgraph:  # of what Dynamo cannot make one graph, torch makes an error
        steps = [step for step in steps if step != "break"]
        trouble = Trouble(trouble.graphs)
    torch.manual_seed(0)
    eager = Stateful(steps)
    model = copy.deepcopy(eager)
    expected = train(eager, eager, calls)
    scene = Scene()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graphs = GraphMaker()
        patch.setattr("torch._inductor.compile_fx.compile_fx_inner", graphs)
        frames = make_trouble(trouble, graphs, patch)
        try:
            results = train(model, scene.compile(model, fullgraph=fullgraph), calls)
        finally:
            scene.end()
    torch.testing.assert_close(results, expected)
    torch.testing.assert_close(dict(model.named_buffers()), dict(eager.named_buffers()))
    assert model.count == eager.count
    torch.testing.assert_close(model.seen, eager.seen)
    met = trouble.graphs & set(range(len(graphs.asked) + 1))
    met |= trouble.frames & set(range(len(frames) + 1))
    assert ("fallback" in scene.kinds()) == bool(met)
