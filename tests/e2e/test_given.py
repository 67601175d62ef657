"""Our fixtures under hypothesis's @given: no noise, no deadline missed, no silent eager."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.e2e.machine import Machine

COLD = """
    import pytest
    import torch
    from hypothesis import given, settings
    from pytest_compilecache.strategies import tensors

    @pytest.fixture
    def model():
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU())

    # A cold compile takes many seconds, and a warm example some milliseconds.
    @pytest.mark.compiled(dynamic=True)
    @given(x=tensors((2, 3), layout="contiguous", requires_grad=True))
    @settings(max_examples=20, database=None, deadline=3000)
    def test_compiled(x, compiled_model, compile_stats, assert_matches_eager):
        assert_matches_eager(compiled_model, x)
        assert compile_stats.graphs > 0
"""

SHAPES = """
    import torch
    from hypothesis import given, settings, strategies as st

    seen = set()

    def f(x):
        return x.sin() + x.shape[0]

    @given(size=st.integers(3, 30))
    @settings(max_examples=60, database=None)
    def test_all_sizes(size, compile_model, compile_stats):
        seen.add(size)
        compile_model(f, backend="aot_eager", dynamic=False)(torch.ones(size))
        assert compile_stats.graphs == len(seen)

    def test_there_were_more_than_the_limit():
        assert len(seen) > 8
"""

PLAIN = """
    import pytest
    import torch
    from hypothesis import given, settings, strategies as st

    traced = set()

    def backend(graph, inputs):
        traced.add(tuple(inputs[0].shape))
        return graph.forward

    def f(x):
        return x.sin()

    @pytest.mark.compiled
    @given(size=st.integers(3, 30))
    @settings(max_examples=60, database=None)
    def test_without_our_fixtures(size):
        torch.compile(f, backend=backend, dynamic=False)(torch.ones(size))
        assert (size,) in traced

    def test_there_were_more_than_the_limit():
        assert len(traced) > 8
"""

REFUSED = """
    import time
    import pytest
    import torch
    from hypothesis import given, settings, strategies as st

    @pytest.fixture
    def mine():
        return []

    @given(number=st.integers())
    def test_fixture_of_the_users_own(number, mine, compile_model):
        pass

    # With its deadline named: hypothesis has none where the variable CI is set.
    # Of one value, which there is no use in shrinking.
    @given(number=st.just(0))
    @settings(database=None, max_examples=2, deadline=200)
    def test_slow_without_compiling(number, compile_model):
        time.sleep(0.5)
"""

SEARCH = """
    import pytest
    import torch
    from hypothesis import given, settings
    from pytest_compilecache.strategies import tensors

    def wrong_for_size_one(graph, inputs):
        def run(*inputs):
            outputs = graph.forward(*inputs)
            return tuple(one + 1 for one in outputs) if 1 in inputs[0].shape else outputs
        return run

    def double(x):
        return x * 2

    @pytest.mark.compiled(backend=wrong_for_size_one, dynamic=False)
    @given(x=tensors())
    @settings(database=None, deadline=None)
    def test_double(x, assert_matches_eager):
        assert_matches_eager(double, x)
"""


def test_fixtures_make_no_noise_and_a_cold_compile_meets_the_deadline(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest(cwd=project(test_cold=COLD))
    assert run.code == 0, run.out
    run.line(r"not warm: 1 of 1 compiled test cold, \d+ miss")


def test_events_of_all_examples_add_up_and_none_runs_eager(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest(cwd=project(test_shapes=SHAPES, test_plain=PLAIN))
    assert run.code == 0, run.out
    assert "recompile limit" not in run.out


def test_fixtures_of_others_and_slow_examples_are_still_refused(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest(cwd=project(test_refused=REFUSED))
    assert "2 failed" in run.out
    assert "FailedHealthCheck" in run.out
    assert "DeadlineExceeded" in run.out


def test_seeded_disagreement_is_found_and_shrunk_to_the_smallest_shape(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest("--show-capture=no", cwd=project(test_search=SEARCH))
    assert "1 failed" in run.out
    assert "DisagreementError: output: 1 of 1 elements differ" in run.out
    run.line(r"seeded_tensor\(\(1,\), torch.float32, 'contiguous', seed=0\)")
    run.line(
        r"  nearer to float64: eager \(max abs error 0; compiled 1\); 4 times eager's error is "
    )
