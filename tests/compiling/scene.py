"""A session in this process around a running test, with a compiler of graphs that fails on request.

Dynamo, AOTAutograd and our own code are the real ones. Only Inductor's innermost
compiler is another: it hands graphs back as they are instead of calling g++.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_compilecache.compiling.compiler import Compiler
from pytest_compilecache.compiling.contracts import Contracts
from pytest_compilecache.compiling.events import CompileEvent, EventKind
from pytest_compilecache.compiling.failures import allow
from pytest_compilecache.compiling.hooks import HOOKS
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.plugin.session import CompileSession
from pytest_compilecache.plugin.testing import Testing
from pytest_compilecache.settings import FallbackMode, Isolation
from pytest_compilecache.torchhooks import inductor

# Of a graph's number, from 1, and of its being a backward: what is wrong with it.
Fails = Callable[[int, bool], BaseException | None]


class BrokenKernelError(RuntimeError):
    """What the compiler of graphs says of a graph that it cannot compile."""


class GraphMaker:
    """Stands in for Inductor's innermost compiler.

    Attributes:
        asked: Whether each graph that it was asked for was a backward.
        fails: Says what is wrong with a graph.
    """

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.fails: Fails = lambda *_: None

    def __call__(self, graph: Any, inputs: Any, **kwargs: Any) -> Any:
        backward = bool(kwargs.get("is_backward", False))
        self.asked.append(backward)
        error = self.fails(len(self.asked), backward)
        if error is not None:
            raise error
        return inductor.boxed(graph.forward)

    def fail_all(self, error: BaseException | None = None) -> None:
        self.fails = lambda *_: error or BrokenKernelError("no kernel for this")

    def fail_backward(self, error: BaseException | None = None) -> None:
        broken = error or BrokenKernelError("no kernel for this")
        self.fails = lambda _, backward: broken if backward else None


class Scene:
    """A session with a running test, as the plugin sets them up when torch is there.

    Args:
        item: The test for which warnings, skips and expected failures are raised; without one,
            every failure to compile is allowed and none is reported.
        mode: What a failure to compile means in it. None is a test without our mark.
    """

    def __init__(
        self, item: pytest.Item | None = None, mode: FallbackMode | None = "eager"
    ) -> None:
        self.set_aside: list[Path] = []
        self.session = CompileSession()
        self.session.started = True
        self.session.set_aside = self._set_aside
        self._testing = Testing(self.session)
        self._item = item
        self._leave = HOOKS.join(self.session)
        self.session.recorder.begin()
        self.begin_test(mode)

    def begin_test(
        self,
        mode: FallbackMode | None = "eager",
        *,
        contracts: Contracts | None = None,
        isolation: Isolation = "none",
    ) -> None:
        self.end_test()
        rule: Callable[..., Any] = allow
        if self._item is not None:
            rule = functools.partial(self._testing._deal_with, self._item, mode or "eager")
        self.session.run = HOOKS.new_test(
            rule, contracts or Contracts(), guarded=mode is not None, isolation=isolation
        )
        self.session.run.begin()
        self.session.recorder.sink.drain()

    def end_test(self) -> None:
        if self.session.run is not None:
            self.session.run.end()
            self.session.run = None

    def compile(self, target: Any, **options: Any) -> Any:
        """As our fixtures compile."""
        assert self.session.run is not None
        self.session.run.guard()
        compiler = Compiler(HOOKS.graphs, HOOKS.frames, HOOKS)
        return compiler.compile(target, CompileOptions(**options))

    def _set_aside(self, library: Path) -> bool:
        self.set_aside.append(library)
        return True

    @property
    def events(self) -> list[CompileEvent]:
        return list(self.session.recorder.sink.waiting)

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]

    def end(self) -> None:
        self.end_test()
        self._leave()
        torch._dynamo.reset()


class Counting(torch.nn.Module):
    """A model whose every call leaves traces: in a buffer, a number and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.count = 0
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        self.count += 1
        y = self.linear(x).sin()
        self.seen.append(y.detach() * 2)
        return y

    @property
    def times(self) -> tuple[float, int, int]:
        """How often each trace was left."""
        return self.calls.item(), self.count, len(self.seen)
