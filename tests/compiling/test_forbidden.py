"""What is forbidden stays forbidden, and nothing is said to have run eager that has not."""

from __future__ import annotations

import contextlib
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
    with pytest.raises(RuntimeError, match="no kernel for this"):
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
    (event,) = [event for event in scene.events if event.kind == "fallback"]
    assert event.function.startswith("forward (")


def asks_for_no_recompile(stack: contextlib.ExitStack) -> None:
    stack.enter_context(torch._dynamo.config.patch(error_on_recompile=True))


def takes_a_stance(stack: contextlib.ExitStack) -> None:
    stack.enter_context(torch.compiler.set_stance("fail_on_recompile"))


def refuses_breaks(stack: contextlib.ExitStack) -> None:
    stack.enter_context(torch._dynamo.error_on_graph_break(True))


def breaking(x: torch.Tensor) -> torch.Tensor:
    y = x.sin()
    torch._dynamo.graph_break()
    return y.cos()


@pytest.mark.parametrize("way", ["fixture", "asked", "plain"])
@pytest.mark.parametrize(
    ("ask", "function"),
    [(asks_for_no_recompile, torch.sin), (takes_a_stance, torch.sin), (refuses_breaks, breaking)],
    ids=["error_on_recompile", "fail_on_recompile", "error_on_graph_break"],
)
def test_what_a_person_asked_torch_to_raise_is_raised_as_without_us(
    ask: Callable[[contextlib.ExitStack], None], function: Callable[..., Any], way: str,
    open_scene: Callable[..., Scene], graphs: GraphMaker,
):  # fmt: skip
    def raised(compile_it: Callable[..., Any]) -> tuple[type, str]:
        def called(x: torch.Tensor) -> torch.Tensor:
            return function(x) * 2

        compiled = compile_it(called, dynamic=False)
        if function is not breaking:
            compiled(torch.ones(3))
        with contextlib.ExitStack() as stack, pytest.raises(RuntimeError) as caught:
            ask(stack)
            compiled(torch.ones(4))
        return type(caught.value), str(caught.value).partition("Developer debug")[0]

    without = raised(torch.compile)
    torch._dynamo.reset()
    scene = open_scene(None if way == "plain" else "eager")
    assert raised(scene.compile if way == "fixture" else torch.compile) == without
    assert "fallback" not in scene.kinds()
