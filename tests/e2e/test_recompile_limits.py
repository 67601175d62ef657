"""Past Dynamo's recompile limit a function runs eager without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.machine import Machine

# aot_eager compiles nothing in C++, so that 300 graphs, more than Dynamo's
# accumulated limit, take seconds.
MANY = """
    import pytest
    import torch

    def f(x):
        return x.sin() + x.shape[0] * 2

    @pytest.mark.parametrize("number", range(150))
    def test_two_shapes(number, compile_model, compile_stats):
        compiled = compile_model(f, backend="aot_eager", dynamic=False)
        for size in (2 * number + 3, 2 * number + 4):
            x = torch.ones(size)
            torch.testing.assert_close(compiled(x), f(x))
        assert compile_stats.graphs == 2
"""

TWELVE = """
    import pytest
    import torch

    def f(x):
        return (x.exp() + 1).sum()

    @pytest.mark.parametrize("size", range(3, 15))
    def test_shape(size):
        x = torch.ones(size)
        torch.testing.assert_close(torch.compile(f, dynamic=False)(x), f(x))
"""

SHARED = """
    import pytest
    import torch

    @pytest.fixture(scope="session")
    def model():
        return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()).eval()

    graphs = []

    @pytest.mark.parametrize("number", range(50))
    def test_one_trace(number, compiled_model, compile_stats):
        with torch.no_grad():
            compiled_model(torch.ones(3, 4))
        graphs.append(compile_stats.graphs)
        assert sum(graphs) == 1
"""

GREEDY = """
    import torch

    def f(x):
        return x.sin() + x.shape[0]

    def test_greedy():
        compiled = torch.compile(f, backend="aot_eager", dynamic=False)
        for size in range(3, 23):
            compiled(torch.ones(size))

    def test_next(compile_model, compile_stats):
        compile_model(f, backend="aot_eager", dynamic=False)(torch.ones(99))
        assert compile_stats.graphs == 1
"""


def test_150_tests_of_two_shapes_on_one_function_are_all_compiled(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest("-q", cwd=project(test_many=MANY))
    assert run.code == 0, run.out
    assert "150 passed" in run.out
    assert "recompile limit" not in run.out


def test_twelve_shapes_of_one_parametrised_test_are_all_compiled_then_all_hit(
    machine: Machine, project: Callable[..., Path]
):
    folder = project(test_twelve=TWELVE)
    cold = machine.pytest(cwd=folder)
    assert cold.code == 0, cold.out
    cold.line(r"not warm: 12 of 12 compiled tests cold, 12 misses")
    assert "recompile limit" not in cold.out
    warm = machine.pytest(cwd=folder)
    assert warm.code == 0, warm.out
    warm.line(r"warm: 12 compiled tests, 12 hits, 0 builds")


def test_fifty_tests_on_one_session_scoped_model_trace_it_once(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest("-q", cwd=project(test_shared=SHARED))
    assert run.code == 0, run.out
    assert "50 passed" in run.out


def test_test_that_itself_exceeds_the_limit_is_reported_and_hurts_no_other(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest(cwd=project(test_greedy=GREEDY))
    assert run.code == 0, run.out
    assert "reached the recompile limit and ran eager:" in run.out
    run.line(r"test_greedy\.py::test_greedy: f \(.*test_greedy\.py:\d+\): recompile_limit")
