"""What is forbidden stays forbidden, and nothing is said to have run eager that has not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.compiling.scene import Counting, GraphMaker, Scene

DYNAMO = "torch._dynamo.symbolic_convert.InstructionTranslator.run"


@pytest.mark.parametrize("way", ["fixture", "plain"])
def test_what_fails_once_fails_again_and_never_runs(
    way: str, open_scene: Callable[..., Scene], graphs: GraphMaker
):
    graphs.fail_all()
    scene = open_scene("fail")
    compiled = (scene.compile if way == "fixture" else torch.compile)(model := Counting())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no kernel for this"):
            compiled(torch.ones(2, 4))
    assert model.times == (0, 0, 0)
    assert scene.kinds() == []


def test_what_an_earlier_test_was_allowed_is_forbidden_to_the_next(
    open_scene: Callable[..., Scene], graphs: GraphMaker
):
    graphs.fail_all()
    scene = open_scene("eager")
    compiled = scene.compile(torch.nn.Linear(4, 4))
    with pytest.warns(UserWarning, match="did not compile and ran eager"):
        compiled(torch.ones(2, 4))
    scene.begin_test("fail")
    with pytest.raises(RuntimeError, match="ran eager: BrokenKernelError: no kernel for this"):
        compiled(torch.ones(2, 4))


def test_what_an_earlier_test_was_told_is_told_again(
    open_scene: Callable[..., Scene], graphs: GraphMaker
):
    graphs.fail_all()
    scene = open_scene("eager")
    for number in (1, 2, 3):
        scene.begin_test("eager")
        compiled = scene.compile(torch.nn.Linear(4, 4))
        with pytest.warns(UserWarning, match="did not compile and ran eager"):
            compiled(torch.ones(2, 4))
        assert scene.kinds().count("fallback") == 1, number


@pytest.mark.parametrize("cause", ["kernel", "Dynamo"])
def test_error_that_dynamo_is_told_to_suppress_is_seen(
    cause: str, open_scene: Callable[..., Scene], graphs: GraphMaker,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    def broken(*args: Any) -> Any:
        raise AttributeError("a bug of Dynamo's")

    if cause == "kernel":
        graphs.fail_all()
    else:
        monkeypatch.setattr(DYNAMO, broken)
    scene = open_scene("fail")
    with torch._dynamo.config.patch(suppress_errors=True):
        torch.compile(model := Counting())(torch.ones(2, 4))
    assert model.times == (1, 1, 1)
    (event,) = [event for event in scene.sink.waiting if event.kind == "fallback"]
    assert event.function.startswith("forward (")
