"""--compilecache-run: marked tests run compiled, eager, or both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Machine, Run, write_project

SUITE = """
    import sys
    import unittest
    import pytest
    import torch

    def wave(x):
        return x.sin()

    @pytest.fixture
    def model():
        return torch.nn.Linear(2, 2)

    @pytest.fixture(scope="class")
    def shared():
        return torch.nn.Linear(2, 2)

    def is_compiled(model):
        return hasattr(model, "_orig_mod")

    def expected(way):
        return way == "compiled"

    @pytest.mark.compiled(backend="aot_eager", fullgraph=True, max_graphs=1, fallback="fail")
    def test_model(compiled_model, compilecache_way, compile_stats):
        compiled_model(torch.ones(2, 2))
        assert compile_stats.graphs == expected(compilecache_way)
        assert not compile_stats.events

    @pytest.mark.compiled
    def test_plain(compilecache_way, compile_stats):
        torch.compile(wave, backend="aot_eager")(torch.ones(2))
        assert compile_stats.graphs == expected(compilecache_way)
        assert not compile_stats.events

    @pytest.mark.compiled(backend="aot_eager", max_graphs=1)
    class TestShared:
        @pytest.mark.parametrize("size", [2, 3])
        def test_sizes(self, size, compile_model, shared, compilecache_way):
            assert is_compiled(compile_model(shared)) == expected(compilecache_way)

    def test_unmarked(compile_stats):
        torch.compile(wave, backend="aot_eager", dynamic=False)(torch.ones(7))
        assert compile_stats.graphs == 1

    @pytest.mark.compiled
    class TestOld(unittest.TestCase):
        def test_one(self):
            torch.compile(wave, backend="aot_eager")(torch.ones(2, 2))

        def test_two(self):
            pass
"""

CONFTEST = """
    import json

    passed = []

    def pytest_runtest_logreport(report):
        if report.when == "call" and report.passed:
            passed.append(report.nodeid)

    def pytest_sessionfinish(session):
        if not hasattr(session.config, "workerinput"):
            with open("passed.json", "w") as file:
                json.dump(sorted(passed), file)
"""

BOTH = [
    "test_ways.py::TestOld::test_one",
    "test_ways.py::TestOld::test_two",
    "test_ways.py::TestShared::test_sizes[compiled-2]",
    "test_ways.py::TestShared::test_sizes[compiled-3]",
    "test_ways.py::TestShared::test_sizes[eager-2]",
    "test_ways.py::TestShared::test_sizes[eager-3]",
    "test_ways.py::test_model[compiled]",
    "test_ways.py::test_model[eager]",
    "test_ways.py::test_plain[compiled]",
    "test_ways.py::test_plain[eager]",
    "test_ways.py::test_unmarked",
]


def run_suite(machine: Machine, folder: Path, *arguments: str) -> tuple[Run, list[str]]:
    run = machine.pytest("-W", "ignore", *arguments, cwd=folder)
    passed: list[str] = json.loads((folder / "passed.json").read_text())
    return run, passed


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", test_ways=SUITE, conftest=CONFTEST)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_both_ways_are_two_items_and_what_cannot_be_is_named(
    workers: tuple[str, ...], machine: Machine, suite: Path
):
    run, passed = run_suite(machine, suite, "--compilecache-run=both", *workers)
    assert run.code == 0, run.out
    assert passed == BOTH
    run.line(
        r"2 tests ran compiled only, for pytest cannot run them both ways: "
        r"test_ways.py::TestOld::test_(one|two) and 1 more$"
    )
    assert "ran eager" not in run.out


OFF = """
    import sys
    import pytest
    import torch

    def wave(x):
        return x.sin()

    @pytest.mark.compiled(fullgraph=True, max_graphs=0, warm=True, fallback="fail")
    def test_fixture(compile_model):
        assert compile_model(wave) is wave

    def test_that_loaded_nothing_that_compiles():
        assert "torch._dynamo" not in sys.modules
        assert "torch._inductor" not in sys.modules

    @pytest.mark.compiled(fallback="fail")
    def test_plain(compile_stats):  # by itself, torch.compile() loads Inductor
        torch.compile(wave)(torch.ones(3))
        assert not compile_stats.events

    def test_unmarked(compile_stats):
        torch.compile(wave)(torch.ones(3))
        assert compile_stats.graphs == 0
        assert not compile_stats.events
"""


def test_eager_runs_everything_eager_and_loads_nothing_that_compiles(
    machine: Machine, project: Callable[..., Path]
):
    folder = project(test_off=OFF)
    (folder / "pytest.ini").write_text("[pytest]\ncompilecache_run = eager\n")
    run = machine.pytest("-W", "ignore", cwd=folder)
    assert run.code == 0, run.out
    assert "ran eager" not in run.out
    assert run.built == ()


NAMES = """
    import pytest

    @pytest.mark.compiled
    def test_it():
        pass
"""


@pytest.mark.parametrize(
    ("ini", "variable", "option", "items"),
    [
        ("", "", "", 1),
        ("both", "", "", 2),
        ("both", "compiled", "", 1),
        ("", "both", "", 2),
        ("eager", "compiled", "--compilecache-run=both", 2),
    ],
)
def test_nearer_setting_wins(
    ini: str, variable: str, option: str, items: int,
    machine: Machine, project: Callable[..., Path],
):  # fmt: skip
    folder = project(test_names=NAMES)
    (folder / "pytest.ini").write_text(f"[pytest]\n{f'compilecache_run = {ini}' if ini else ''}\n")
    variables = {"COMPILECACHE_RUN": variable} if variable else {}
    run = machine.pytest(*filter(None, [option]), "-q", "--collect-only", cwd=folder, env=variables)
    assert run.code == 0, run.out
    assert run.out.count("test_names.py::test_it") == items


def test_unknown_way_is_refused(machine: Machine, project: Callable[..., Path]):
    run = machine.pytest("--compilecache-run=maybe", cwd=project(test_names=NAMES))
    assert run.code == 4
    assert "use one of compiled, eager, both" in run.out


def test_mark_without_the_plugin_is_an_unknown_mark(machine: Machine, project: Callable[..., Path]):
    folder = project(test_names=NAMES)
    run = machine.pytest("-p", "no:compilecache", cwd=folder)
    assert run.code == 0, run.out
    assert "PytestUnknownMarkWarning: Unknown pytest.mark.compiled" in run.out
    strict = machine.pytest("-p", "no:compilecache", "--strict-markers", cwd=folder)
    assert strict.code == 2, strict.out
