"""What is no failure to compile passes through: interruptions, outcomes, the user's own errors."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.compiling.scene import Counting, GraphMaker, Scene

DYNAMO = "torch._dynamo.symbolic_convert.InstructionTranslator.run"
AOT = "torch._dynamo.backends.common.aot_module_simplified"


class PluginTimeoutError(BaseException):
    """As plugins that stop tests raise them."""


INTERRUPTIONS: list[BaseException] = [
    KeyboardInterrupt(),
    SystemExit(3),
    MemoryError("all of it"),
    torch.OutOfMemoryError("all of the device's"),
    TimeoutError("an alarm rang"),
    PluginTimeoutError("too long"),
    pytest.fail.Exception("as the test says"),
]


@pytest.mark.parametrize("way", ["fixture", "asked"])
@pytest.mark.parametrize("place", ["kernel", "backward", AOT, DYNAMO])
@pytest.mark.parametrize("error", INTERRUPTIONS, ids=lambda error: type(error).__name__)
def test_interruption_arrives_as_itself_wherever_it_strikes(
    error: BaseException, place: str, way: str,
    scene: Scene, graphs: GraphMaker, monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    def strike(*args: Any, **kwargs: Any) -> Any:
        raise error

    if place == "kernel":
        graphs.fail_all(error)
    elif place == "backward":
        graphs.fail_backward(error)
    else:
        monkeypatch.setattr(place, strike)
    compiled = (scene.compile if way == "fixture" else torch.compile)(model := Counting())
    with pytest.raises(type(error)) as caught:
        compiled(torch.ones(2, 4)).sum().backward()
    assert caught.value is error
    assert model.times == ((1, 1, 1) if place == "backward" else (0, 0, 0))
    assert scene.kinds() == []


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms here")
def test_alarm_that_rings_while_compiling_ends_the_call(
    scene: Scene, graphs: GraphMaker, monkeypatch: pytest.MonkeyPatch
):
    def ring(*_: Any) -> None:
        raise TimeoutError("rang")

    def compile_for_ever(number: int, backward: bool) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        time.sleep(60)

    graphs.fails = compile_for_ever
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(TimeoutError, match=r"^rang$"):
            scene.compile(Counting())(torch.ones(2, 4))
    finally:
        signal.signal(signal.SIGALRM, before)


class ModelError(Exception):
    """A user's own, whose message is not its argument."""

    def __init__(self, layer: str, *, code: int) -> None:
        super().__init__(layer)
        self.code = code

    def __str__(self) -> str:
        return f"{self.args[0]} went wrong with {self.code}"


class Raises(Counting):
    """Raises in the middle, with or without a graph break before."""

    def __init__(self, error: Callable[[], Exception], *, breaks: bool) -> None:
        super().__init__()
        self.error, self.breaks = error, breaks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        super().forward(x)
        if self.breaks:
            torch._dynamo.graph_break()
        raise self.error()


ERRORS: dict[str, Callable[[], Exception]] = {
    "key": lambda: KeyError("weights"),
    "own": lambda: ModelError("norm", code=7),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "bare": StopIteration,
    "assertion": lambda: AssertionError("two words"),
}


@pytest.mark.filterwarnings("ignore")  # torch's own, of graphs that break
@pytest.mark.parametrize("breaks", [False, True], ids=["straight", "after a break"])
@pytest.mark.parametrize("name", ERRORS)
def test_users_error_arrives_unchanged_and_state_changed_as_in_eager(
    name: str, breaks: bool, open_scene: Callable[..., Scene], graphs: GraphMaker
):
    eager, model = (Raises(ERRORS[name], breaks=breaks) for _ in range(2))
    with pytest.raises(Exception) as expected:  # noqa: PT011  (whatever it is)
        eager(torch.ones(2, 4))
    compiled = open_scene("fail").compile(model)
    with pytest.raises(type(expected.value)) as caught:
        compiled(torch.ones(2, 4))
    assert type(caught.value) is type(expected.value)
    assert str(caught.value) == str(expected.value)
    assert caught.value.args == expected.value.args
    assert vars(caught.value) == vars(expected.value)
    assert model.times == eager.times == (1, 1, 1)


@pytest.mark.parametrize("extent", ["parts", "whole"])
def test_error_that_the_user_catches_is_caught(extent: str, scene: Scene, graphs: GraphMaker):
    class Catching(Counting):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            try:
                if x.shape[0] == 2:
                    raise ValueError("two")  # noqa: TRY301  (it is what Dynamo shall see)
            except ValueError:
                x = x + 1
            return super().forward(x)

    model = Catching()
    torch.testing.assert_close(
        scene.compile(model, fullgraph=extent == "whole")(torch.ones(2, 4)),
        model.linear(torch.full((2, 4), 2.0)).sin(),
    )
    assert model.times == (1, 1, 1)
    assert "fallback" not in scene.kinds()


def test_failing_backend_is_called_by_its_own_name(
    open_scene: Callable[..., Scene], graphs: GraphMaker
):
    graphs.fail_all()
    with pytest.raises(RuntimeError, match=r"^backend='inductor' raised:"):
        open_scene("fail").compile(Counting())(torch.ones(2, 4))
