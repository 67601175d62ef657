"""A session's compiler in this process, with a compiler of graphs that fails on request.

Dynamo, AOTAutograd and our own code are the real ones. Only Inductor's innermost
compiler is another: it hands graphs back as they are instead of calling g++.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import EventKind, EventSink
from pytest_compilecache.compiling.failures import allow
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.compiling.session import SessionCompiler
from pytest_compilecache.imports import ImportWatch
from pytest_compilecache.plugin.policy import FallbackPolicy
from pytest_compilecache.settings import FallbackMode

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
        return private.boxed(graph.forward)

    def fail_all(self, error: BaseException | None = None) -> None:
        self.fails = lambda *_: error or BrokenKernelError("no kernel for this")

    def fail_backward(self, error: BaseException | None = None) -> None:
        broken = error or BrokenKernelError("no kernel for this")
        self.fails = lambda _, backward: broken if backward else None


class Scene:
    """A session's compiler, as the plugin sets it up around a running test."""

    def __init__(self, item: pytest.Item | None = None, mode: FallbackMode = "eager") -> None:
        self.sink = EventSink()
        self.policy = FallbackPolicy()
        self.set_aside: list[Path] = []
        self._item = item
        rule = allow if item is None else self.policy
        self.session = SessionCompiler(self.sink, rule, self._set_aside)
        self.session.attach(ImportWatch(), lambda callback: callback)
        self.begin_test(mode)

    def begin_test(self, mode: FallbackMode = "eager") -> None:
        if self._item is not None:
            self.policy.begin(self._item, mode)
        self.session.renew()
        self.sink.drain()

    def compile(self, target: Any, **options: Any) -> Any:
        """As our fixtures compile."""
        return self.session.compiler.compile(target, CompileOptions(**options))

    def _set_aside(self, library: Path) -> bool:
        self.set_aside.append(library)
        return True

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.sink.waiting]

    def end(self) -> None:
        self.policy.end()
        self.session.undo()
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
