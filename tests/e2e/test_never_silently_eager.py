"""What was to be compiled and ran eager is an event, shows in the summary, and can be forbidden."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Machine

# aot_eager compiles nothing in C++.
SUITE = """
    import pytest
    import torch
    import torch._dynamo

    from torch.utils._python_dispatch import TorchDispatchMode

    def eagerly(function):
        return torch.compile(function, backend="aot_eager", dynamic=False)

    def wave(x):
        return x.sin()

    def numbers(x):
        yield x.sin()
        yield x.cos()

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    class Own(torch.nn.Module):
        def forward(self, x):
            return x.sin()

    def greedy(x):
        return x.cos()

    def loops(x):
        for number in range(3):
            x = x + number
            torch._dynamo.graph_break()
        return x

    def kinds(stats):
        return {event.kind for event in stats.events}

    def exceed_the_limit():
        compiled = eagerly(greedy)
        for size in range(2, 32):
            torch.testing.assert_close(compiled(torch.ones(size)), greedy(torch.ones(size)))

    @pytest.mark.parametrize("number", [1, 2])
    def test_limit(number, compile_stats):
        exceed_the_limit()
        assert "limit" in kinds(compile_stats)

    @pytest.mark.parametrize("number", [1, 2])
    def test_stance(number, compile_stats):
        with torch.compiler.set_stance("force_eager"):
            eagerly(wave)(torch.ones(3))
        assert [event.kind for event in compile_stats.events] == ["disabled"]

    @pytest.mark.parametrize("number", [1, 2])
    def test_skip(number, compile_stats):
        assert eagerly(loops)(torch.ones(3)).tolist() == [4, 4, 4]
        assert "skip" in kinds(compile_stats)

    @pytest.mark.parametrize("number", [1, 2])
    def test_skip_by_a_fixture(number, compile_model, compile_stats):
        compiled = compile_model(loops, backend="aot_eager")
        assert compiled(torch.ones(3)).tolist() == [4, 4, 4]
        assert "skip" in kinds(compile_stats)

    def test_disabled_by_the_config(compile_stats):
        with torch._dynamo.config.patch(disable=True):
            eagerly(wave)(torch.ones(3))
        assert kinds(compile_stats) == {"disabled"}

    @pytest.mark.parametrize("number", [1, 2])
    def test_dispatch_mode(number, compile_stats):
        with Mode():
            eagerly(wave)(torch.ones(3))
        assert kinds(compile_stats) == {"skip"}

    def test_dispatch_mode_of_another_test_is_over(compile_stats):
        eagerly(wave)(torch.ones(3))
        assert compile_stats.graphs == 1
        assert kinds(compile_stats) == set()

    def test_generator(compile_stats):
        assert len(list(eagerly(numbers)(torch.ones(3)))) == 2
        assert kinds(compile_stats) == {"skip"}

    @pytest.mark.skipif(
        not "2.9" <= torch.__version__ < "2.15",
        reason="before, torch does not count compiled frames; later, it compiles such a module",
    )
    @pytest.mark.parametrize("number", [1, 2])
    def test_module_of_torchs_own_that_compiles_itself(number, compile_stats):
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
        model.compile(backend="aot_eager")
        for _ in range(2):
            model(torch.ones(3))
        assert compile_stats.graphs == 0
        assert [event.kind for event in compile_stats.events] == ["skip"]

    def test_module_that_compiles_itself(compile_stats):
        model = torch.nn.Sequential(Own())
        model.compile(backend="aot_eager")
        model(torch.ones(3))
        torch.compile(model, backend="aot_eager")(torch.ones(3))
        assert compile_stats.graphs >= 1
        assert kinds(compile_stats) <= {"recompile"}

    @pytest.mark.compiled(fallback="fail")
    def test_stance_that_raises_is_not_eager(compile_stats):
        compiled = eagerly(wave)
        compiled(torch.ones(3))
        with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError):
            compiled(torch.ones(4))

    @pytest.mark.compiled(fallback="fail")
    @pytest.mark.skipif(not hasattr(torch._dynamo, "error_on_graph_break"), reason="older torch")
    def test_break_that_raises_is_not_eager(compile_stats):
        with torch._dynamo.error_on_graph_break(True), pytest.raises(RuntimeError):
            eagerly(loops)(torch.ones(3))

    def test_call_that_says_disable_is_nothing_to_tell(compile_stats):
        torch.compile(wave, disable=True)(torch.ones(3))
        assert kinds(compile_stats) == set()

    @pytest.mark.compiled(fallback="fail")
    class TestForbidden:
        def test_limit(self):
            exceed_the_limit()

        def test_stance(self):
            with torch.compiler.set_stance("force_eager"):
                eagerly(wave)(torch.ones(3))

        def test_skip(self):
            eagerly(loops)(torch.ones(3))

        def test_disabled(self):
            with torch._dynamo.config.patch(disable=True):
                eagerly(wave)(torch.ones(3))

    @pytest.mark.compiled
    def test_marked_one_is_compiled(compile_stats):
        eagerly(greedy)(torch.ones(77))
        assert compile_stats.graphs == 1
        assert kinds(compile_stats) <= {"recompile"}
"""

TURNED_OFF = """
    import pytest
    import torch

    def wave(x):
        return x.sin()

    def test_plain(compile_stats):
        torch.compile(wave)(torch.ones(3))
        assert [event.kind for event in compile_stats.events] == ["disabled"]

    def test_fixture(compile_model, compile_stats):
        compile_model(wave)(torch.ones(3))
        assert [event.kind for event in compile_stats.events] == ["disabled"]

    @pytest.mark.compiled(fallback="fail")
    def test_forbidden(compile_model):
        compile_model(wave)(torch.ones(3))
"""


def test_everything_that_runs_eager_shows_and_can_be_forbidden(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest("-q", "--tb=line", "-W", "ignore", cwd=project(test_eager=SUITE))
    assert re.search(
        "4 failed, (20 passed|18 passed, 2 skipped|17 passed, 3 skipped) in", run.out
    ), run.out
    for name in ("limit", "stance", "skip", "disabled"):
        run.line(rf"^FAILED test_eager.py::TestForbidden::test_{name} ")
    run.line(r"^reached the recompile limit and ran eager:$")
    run.line(r"^  test_eager.py::test_limit\[1\].*: greedy \(.*test_eager.py:26\): recompile_limit")
    run.line(r"^ran eager, because Dynamo skipped it:$")
    run.line(r"^  test_eager.py::test_skip\[1\] and 4 more: loops \(.*test_eager.py:29\): ")
    run.line(r"^ran eager, because compiling was turned off:$")
    run.line(r"^  test_eager.py::test_stance\[1\] and 2 more: torch.compiler.set_stance\('force")
    run.line(
        r"^  test_eager.py::test_disabled_by_.* and 1 more: wave \(.*\): .* torch._dynamo.config"
    )


@pytest.mark.parametrize("variable", ["TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"])
def test_compiling_that_is_turned_off_is_told_and_can_be_forbidden(
    variable: str, machine: Machine, project: Callable[..., Path]
):
    folder = project(test_off=TURNED_OFF)
    run = machine.pytest("-q", "-W", "ignore", cwd=folder, env={variable: "1"})
    assert "1 failed, 2 passed" in run.out, run.out
    run.line(r"^fallback='fail', but what was to be compiled ran eager once$")
    run.line(rf"test_off.py::test_plain and 2 more: wave \(.*\): .* off by {variable}=1$")
