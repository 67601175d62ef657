"""Every way not to compile, under every mode: what the test gets, and how its state changed."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd

from pytest_compilecache.errors import CompileFallbackWarning
from tests.compiling.scene import Counting, GraphMaker, Scene


class Unsupported(Counting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        torch._dynamo.graph_break()
        return y * 2


class Raising(Counting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        super().forward(x)
        raise LookupError("mine", 3)


class WrongShape(Counting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) @ torch.ones(7, 3)


class Cause(NamedTuple):
    model: type[Counting]
    happen: Callable[[GraphMaker, pytest.MonkeyPatch], None]


def nothing(graphs: GraphMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model itself is the cause."""


def no_kernel(graphs: GraphMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs.fail_all()


def no_backward_kernel(graphs: GraphMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs.fail_backward()


def past_the_limit(graphs: GraphMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in range(3, 3 + torch._dynamo.config.recompile_limit):
        torch.compile(Counting(), backend="eager", dynamic=False)(torch.ones(size, 4))


def raise_in(target: str, error: Exception) -> Callable[[GraphMaker, pytest.MonkeyPatch], None]:
    def happen(graphs: GraphMaker, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*args: Any, **kwargs: Any) -> Any:
            raise type(error)(*error.args)  # torch adds to what it wraps

        monkeypatch.setattr(target, broken)

    return happen


DYNAMO = "torch._dynamo.symbolic_convert.InstructionTranslator.run"
AOT = "torch._dynamo.backends.common.aot_module_simplified"

CAUSES = {
    "kernel": Cause(Counting, no_kernel),
    "backward": Cause(Counting, no_backward_kernel),
    "AOTAutograd": Cause(Counting, raise_in(AOT, NotImplementedError("no such trace"))),
    "Dynamo": Cause(Counting, raise_in(DYNAMO, AttributeError("a bug of Dynamo's"))),
    "limit": Cause(Counting, past_the_limit),
    "unsupported": Cause(Unsupported, nothing),
    "own error": Cause(Raising, nothing),
    "own shapes": Cause(WrongShape, nothing),
}

# How it is compiled, whether as one graph, and what comes of it by mode. "eager" is a warning
# and eager's result, "graphs" more graphs (or, past the limit, none: an event of another kind,
# see tests/e2e/test_never_silently_eager.py). "asked" is a plain call in a test whose mark, or
# a setting, asks for the fallback; a plain call in any other test has a table of torch's own,
# see below. What fullgraph asks torch to raise is raised, whatever the mode.
TABLE = """
kernel       fixture  parts  eager         BackendCompilerFailed    Skipped       XFailed
kernel       fixture  whole  eager         BackendCompilerFailed    Skipped       XFailed
kernel       asked    parts  eager         BackendCompilerFailed    Skipped       XFailed
kernel       asked    whole  eager         BackendCompilerFailed    Skipped       XFailed
backward     fixture  parts  eager         BrokenKernelError        Skipped       XFailed
backward     asked    whole  eager         BrokenKernelError        Skipped       XFailed
AOTAutograd  fixture  whole  eager         BackendCompilerFailed    Skipped       XFailed
AOTAutograd  asked    parts  eager         BackendCompilerFailed    Skipped       XFailed
Dynamo       fixture  parts  eager         InternalTorchDynamoError Skipped       XFailed
Dynamo       fixture  whole  InternalTorchDynamoError  same
Dynamo       asked    parts  eager         InternalTorchDynamoError Skipped       XFailed
Dynamo       asked    whole  InternalTorchDynamoError  same
limit        fixture  parts  graphs                    same
limit        fixture  whole  FailOnRecompileLimitHit   same
limit        asked    parts  graphs                    same
limit        asked    whole  FailOnRecompileLimitHit   same
unsupported  fixture  parts  graphs                    same
unsupported  fixture  whole  Unsupported               same
unsupported  asked    parts  graphs                    same
unsupported  asked    whole  Unsupported               same
own_error    fixture  parts  LookupError               same
own_error    fixture  whole  Unsupported               same
own_error    asked    parts  LookupError               same
own_error    asked    whole  Unsupported               same
own_shapes   fixture  parts  RuntimeError              same
own_shapes   fixture  whole  TorchRuntimeError         same
own_shapes   asked    parts  TorchRuntimeError         same
own_shapes   asked    whole  TorchRuntimeError         same
"""
MODES = ("eager", "fail", "skip", "xfail")


def rows() -> list[Any]:
    found = []
    for line in TABLE.strip().splitlines():
        cause, way, extent, *results = line.split()
        # Where every mode gives the same, the two show it that differ most.
        modes = ("eager", "skip") if results[1] == "same" else MODES
        results = [results[0] if each == "same" else each for each in results]
        found += [
            pytest.param(cause, way, extent, mode, result, id=f"{cause}-{way}-{extent}-{mode}")
            for mode, result in zip(modes, results, strict=True)
        ]
    return found


class Ending(NamedTuple):
    """How a forward and a backward ended."""

    output: torch.Tensor | None
    gradient: torch.Tensor | None
    error: BaseException | None
    times: tuple[float, int, int]


def call(model: Counting, compiled: Callable[..., Any]) -> Ending:
    output = error = None
    try:
        output = compiled(torch.ones(2, 4))
        output.sum().backward()
    except BaseException as caught:  # noqa: BLE001  (outcomes of pytest are none of Exception)
        error = caught
    return Ending(output, model.linear.weight.grad, error, model.times)


def made(cause: Cause) -> Counting:
    torch.manual_seed(0)
    return cause.model()


@pytest.mark.parametrize(("cause", "way", "extent", "mode", "result"), rows())
def test_table(
    cause: str, way: str, extent: str, mode: str, result: str,
    open_scene: Callable[..., Scene], graphs: GraphMaker, monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    causing = CAUSES[cause.replace("_", " ")]
    eager = call(model := made(causing), model)
    scene = open_scene(mode)
    causing.happen(graphs, monkeypatch)
    model = made(causing)
    compile_it = scene.compile if way == "fixture" else torch.compile
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("ignore")  # torch's own, of graphs that break
        warnings.simplefilter("always", CompileFallbackWarning)
        ending = call(model, compile_it(model, fullgraph=extent == "whole"))
    assert len(told) == (result == "eager")
    if result in {"eager", "graphs"}:
        assert ending.error is None
        assert ending.times == eager.times == (1, 1, 1)
        torch.testing.assert_close(ending.output, eager.output)
        torch.testing.assert_close(ending.gradient, eager.gradient)
        assert ("fallback" in scene.kinds()) == (result == "eager")
        return
    assert type(ending.error).__name__ == result
    if result == type(eager.error).__name__:  # the user's own
        assert (str(ending.error), ending.error.args) == (str(eager.error), eager.error.args)
        assert ending.times == eager.times
    assert ending.times in {(0, 0, 0), (1, 1, 1)}


class Observed(NamedTuple):
    """All that a test could see of a call."""

    error: tuple[str, str] | None
    values: list[Any]
    times: tuple[float, int, int]
    warned: list[tuple[str, str]]
    counters: dict[str, dict[str, int]]


def aot_backend(graphs: GraphMaker) -> Callable[..., Any]:
    return aot_autograd(fw_compiler=graphs, bw_compiler=functools.partial(graphs, is_backward=True))


CODEGEN = "torch._inductor.compile_fx.fx_codegen_and_compile"
# Torch calls Inductor's innermost compiler by an argument's default: it is broken further in.
PLAIN = {
    **CAUSES,
    "kernel": Cause(Counting, raise_in(CODEGEN, RuntimeError("no lowering for this"))),
    "memory": Cause(Counting, raise_in(CODEGEN, MemoryError("full"))),
}


def observe(cause: str, extent: str, graphs: GraphMaker, patch: pytest.MonkeyPatch) -> Observed:
    torch._dynamo.reset()
    backend = "inductor" if cause in {"kernel", "memory"} else aot_backend(graphs)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        PLAIN[cause].happen(graphs, patch)
        torch._dynamo.utils.counters.clear()
        model = made(PLAIN[cause])
        ending = call(model, torch.compile(model, backend=backend, fullgraph=extent == "whole"))
    error = ending.error
    values = [None if each is None else each.tolist() for each in (ending.output, ending.gradient)]
    return Observed(
        None if error is None else (type(error).__name__, str(error)),
        values,
        ending.times,
        [(each.category.__name__, str(each.message)) for each in warned],
        {group: dict(counts) for group, counts in torch._dynamo.utils.counters.items()},
    )


@pytest.mark.parametrize("extent", ["parts", "whole"])
@pytest.mark.parametrize("cause", PLAIN)
def test_plain_call_in_a_test_without_our_mark_ends_as_it_does_without_us(
    cause: str, extent: str, open_scene: Callable[..., Scene], graphs: GraphMaker,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    without = observe(cause, extent, graphs, monkeypatch)
    open_scene(None)
    assert observe(cause, extent, graphs, monkeypatch) == without


@pytest.mark.parametrize("mode", [None, "eager", "skip"])
@pytest.mark.parametrize("way", ["fixture", "plain"])
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"backend": "nowhere"}, "InvalidBackend"),
        ({"mode": "nowhere"}, "RuntimeError"),
        ({"options": {"nowhere": 1}}, "RuntimeError"),
    ],
)
def test_argument_that_torch_refuses_is_refused_at_once_whatever_the_mode(
    arguments: dict[str, Any],
    error: str,
    way: str,
    mode: str | None,
    open_scene: Callable[..., Scene],
):
    scene = open_scene(mode)
    with pytest.raises(RuntimeError) as caught:
        (scene.compile if way == "fixture" else torch.compile)(Counting(), **arguments)
    assert type(caught.value).__name__ == error
    assert "nowhere" in str(caught.value)
    assert scene.kinds() == []
