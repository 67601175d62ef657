from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Machine

FALLBACK = """
    import pytest
    import torch
    from torch._inductor import lowering

    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.linear(x).sin()

    @pytest.fixture
    def model():
        return Counting()

    @pytest.fixture
    def broken_compiler(monkeypatch):
        from torch._inductor.graph import GraphLowering
        def broken(self, *args, **kwargs):
            raise RuntimeError("this compiler is broken")
        monkeypatch.setattr(GraphLowering, "run", broken)

    def test_falls_back(broken_compiler, compiled_model, model, compile_stats):
        y = compiled_model(torch.ones(2, 4))
        torch.testing.assert_close(y, model.linear(torch.ones(2, 4)).sin())
        assert model.calls == 1
        y.sum().backward()
        assert model.linear.weight.grad is not None
        assert compile_stats.fallbacks >= 1

    @pytest.mark.compiled(fallback="skip")
    def test_is_skipped(broken_compiler, compiled_model):
        compiled_model(torch.ones(3, 4))

    def test_users_error_arrives_unchanged(compile_model):
        def f(x):
            if x.shape[0] == 3:
                raise ValueError("mine")
            return x.sin()
        with pytest.raises(ValueError, match="^mine$"):
            compile_model(f)(torch.ones(3))
"""

FRESH = """
    import torch

    def f(x):
        return x.sin() + 1

    def test_warm():
        torch.compile(f)(torch.ones(5))

    def test_cold_on_request(fresh_compile_cache, compile_stats):
        torch.compile(f)(torch.ones(5))
        assert compile_stats.misses == 1
        assert compile_stats.hits == 0
        assert any(fresh_compile_cache.rglob("*.so"))

    def test_warm_again():
        torch.compile(f)(torch.ones(6))
        torch.compile(f)(torch.ones(5))
"""

STATS = """
    import torch

    def f(x):
        return x.sin()

    def test_recompiles_and_breaks(compile_stats, compile_cache):
        compiled = torch.compile(f, backend="aot_eager")
        compiled(torch.ones(2))
        compiled(torch.ones(3))
        assert compile_stats.recompiles == 1
        (event,) = [one for one in compile_stats.events if one.kind == "recompile"]
        assert "size mismatch" in event.reason
        assert "f (" in event.function

        def breaking(x):
            x = x.sin()
            print("break")
            return x.cos()
        torch.compile(breaking, backend="aot_eager")(torch.ones(2))
        assert compile_stats.graph_breaks == 1
        assert compile_stats.seconds > 0
        assert compile_cache.directory is not None
        assert compile_cache.environment.startswith("torch")
"""


IN_SETUP = """
    import pytest
    import torch

    @pytest.fixture
    def warmed_up(compile_model):
        compiled = compile_model(lambda x: x.sin(), backend="aot_eager")
        compiled(torch.ones(3))
        return compiled

    def test_setup_counts(warmed_up, compile_stats):
        assert compile_stats.graphs == 1
        warmed_up(torch.ones(3, 3))
        assert compile_stats.graphs == 2

    def test_other_test_starts_at_nothing(compile_stats):
        assert compile_stats.graphs == 0
"""


def test_stats_include_what_fixtures_compiled(machine: Machine, project: Callable[..., Path]):
    run = machine.pytest(cwd=project(test_in_setup=IN_SETUP))
    assert run.code == 0, run.out


def test_graph_that_does_not_compile_runs_eager_once_and_is_reported(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest("-rs", cwd=project(test_fallback=FALLBACK))
    assert run.code == 0, run.out
    # At the test, and not at the line of ours that skips it.
    run.line(r"^SKIPPED \[1\] test_fallback\.py:\d+: did not compile: .*this compiler is broken")
    assert "did not compile and ran eager:" in run.out
    assert "this compiler is broken" in run.out


def test_fresh_cache_is_cold_and_spoils_no_verdict(machine: Machine, project: Callable[..., Path]):
    folder = project(test_fresh=FRESH)
    machine.pytest(cwd=folder)
    run = machine.pytest(cwd=folder)
    assert run.code == 0, run.out
    run.line(r"^compilecache: warm: 2 compiled tests.*; 1 test cold on request")


def test_stats_tell_recompiles_and_graph_breaks_with_reasons(
    machine: Machine, project: Callable[..., Path]
):
    run = machine.pytest(cwd=project(test_stats=STATS))
    assert run.code == 0, run.out


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("fullgrph=True", "has no argument 'fullgrph'; it knows mode, fullgraph"),
        ("mode='default', options={'x': 1}", "takes either mode or options, not both"),
        ("fullgraph='yes'", "has fullgraph='yes', of a wrong type"),
        ("fallback='maybe'", "has fallback='maybe'; use eager"),
    ],
)
def test_wrong_mark_fails_collection_with_the_tests_name(
    mark: str, message: str, machine: Machine, project: Callable[..., Path]
):
    folder = project(
        test_mark=f"import pytest\n@pytest.mark.compiled({mark})\ndef test_it(): pass\n"
    )
    for arguments in ([], ["-n", "1"]):
        run = machine.pytest(*arguments, cwd=folder)
        assert run.code in {1, 2}, run.out
        assert "ERROR collecting test_mark.py" in run.out
        assert "test_mark.py::test_it: mark 'compiled'" in run.out
        assert message in run.out
        assert "INTERNALERROR" not in run.out


CLASHES = """
    import pytest

    @pytest.mark.compiled("cython", "level-3")
    def test_of_another_tool(request):
        assert request.node.get_closest_marker("compiled").args == ("cython", "level-3")

    @pytest.mark.compiled("cython")
    @pytest.mark.compiled(backend="eager", max_graphs=1)
    def test_of_both(compile_model, compile_stats):
        import torch
        compile_model(torch.sin)(torch.ones(2))
        assert compile_stats.graphs <= 1

    def test_options_of_the_suites_own(pytestconfig):
        assert pytestconfig.getoption("--compiled") == "cython"
        assert pytestconfig.getoption("--compiled-fallback") == "none"
        assert pytestconfig.getini("compiled") == "both"
"""
CLASHING_CONFTEST = """
    def pytest_addoption(parser):
        parser.addoption("--compiled", default="cython")
        parser.addoption("--compiled-fallback", default="none")
        parser.addini("compiled", "which ways", default="both")
"""


def test_marks_and_options_of_another_tool_are_left_alone(
    machine: Machine, project: Callable[..., Path]
):
    folder = project(test_clashes=CLASHES, conftest=CLASHING_CONFTEST)
    run = machine.pytest("--strict-markers", "-W", "error", cwd=folder)
    assert run.code == 0, run.out
    assert "3 passed" in run.out


SERVED = """
    import pytest, torch
    from pytest_compilecache import CompileOptions

    def double(x):
        return x * 2

    def test_project_says_which_backend(compile_model):
        with pytest.raises(Exception, match="nowhere"):
            compile_model(double)

    @pytest.mark.compiled(backend="eager")
    def test_mark_comes_before_the_project(compile_model, compile_stats):
        assert compile_model(double)(torch.ones(2)).tolist() == [2, 2]
        assert compile_stats.graphs == 1

    def test_options_of_a_server_come_before_both(compile_model, compile_stats):
        served = {"pt2": {"compile": {"enable": True, "backend": "aot_eager"}}}
        compiled = compile_model(double, CompileOptions.from_torchserve(served))
        assert compiled(torch.ones(2)).tolist() == [2, 2]
        assert compile_stats.graphs == 1

    def test_server_that_does_not_compile_is_told(compile_model, compile_stats):
        served = {"pt2": {"compile": {"enable": False}}}
        assert compile_model(double, CompileOptions.from_torchserve(served)) is double
        assert [event.kind for event in compile_stats.events] == ["disabled"]
"""


def test_options_of_the_project_and_of_a_server_are_in_force(
    machine: Machine, project: Callable[..., Path]
):
    folder = project(test_served=SERVED)
    (folder / "pyproject.toml").write_text('[tool.compilecache.compile]\nbackend = "nowhere"\n')
    run = machine.pytest(cwd=folder)
    assert run.code == 0, run.out
    assert "double: its options say enabled=False" in run.out
    (folder / "pyproject.toml").write_text('[tool.compilecache.compile]\nbackendd = "eager"\n')
    wrong = machine.pytest(cwd=folder)
    assert wrong.code != 0
    assert "backendd: there is no such option" in wrong.out
