"""What a test compiles does not depend on the tests before it, where a person asks for that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Machine, Run

# "eager" compiles nothing in C++, so that 600 graphs, more than twice Dynamo's accumulated
# limit, take seconds. The backend counts what it is given: our own counts prove nothing alone.
MANY = """
    import pytest
    import torch

    compiled = []

    def backend(graph, inputs):
        compiled.append(tuple(inputs[0].shape))
        return graph.forward

    def f(x):
        return x.sin() + x.shape[0] * 2

    {mark}
    @pytest.mark.parametrize("number", range(300))
    def test_two_shapes(number):
        asked = [(2 * number + 3,), (2 * number + 4,)]
        for size, in asked:
            torch.compile(f, backend=backend, dynamic=False)(torch.ones(size))
        assert compiled[-2:] == asked
        assert torch._dynamo.config.recompile_limit == 8
        assert torch._dynamo.config.accumulated_recompile_limit == 256

    @pytest.fixture(scope="session")
    def model():
        return torch.compile(torch.nn.Linear(4, 4), backend=backend)

    {mark}
    @pytest.mark.parametrize("number", range(20))
    def test_shared_model(number, model):
        if number == 0:
            compiled.clear()
        model(torch.ones(3, 4))
        assert len(compiled) == 1
"""
MARKED = "@pytest.mark.compiled"
WAYS = pytest.mark.parametrize(
    ("mark", "option"),
    [
        (MARKED, ""),
        ("", "--compilecache-isolation=test"),
    ],
    ids=["mark", "setting"],
)


def start(machine: Machine, folder: Path, *arguments: str) -> Run:
    return machine.pytest("-q", "-W", "ignore", *filter(None, arguments), cwd=folder)


@WAYS
def test_300_tests_of_two_shapes_on_one_function_are_all_compiled_and_a_shared_model_once(
    mark: str, option: str, machine: Machine, project: Callable[..., Path]
):
    run = start(machine, project(test_many=MANY.format(mark=mark)), option)
    assert run.code == 0, run.out
    assert "320 passed" in run.out
    assert "ran eager" not in run.out


GREEDY = """
    import contextlib
    import json

    import pytest
    import torch
    from torch._dynamo.testing import CompileCounter

    counts = {{}}

    @pytest.fixture(scope="module", autouse=True)
    def counted():
        yield
        with open("counts.json", "w") as file:
            json.dump(counts, file)

    def f(x):
        return x.sin() + x.shape[0]

    def greedy(name, whole=False):
        backend = CompileCounter()
        compiled = torch.compile(f, backend=backend, dynamic=False, fullgraph=whole)
        with contextlib.suppress(Exception):
            for size in range(3, 23):
                compiled(torch.ones(size))
        counts[name] = backend.frame_count

    {mark}
    @pytest.mark.parametrize("number", range(3))
    def test_greedy(number):
        greedy(f"test {{number}}")

    {mark}
    @pytest.mark.parametrize("number", range(2))
    def test_greedy_as_one_graph(number):
        greedy(f"whole {{number}}", whole=True)

    class TestPatched:
        @pytest.fixture(scope="class", autouse=True)
        def patched(self):
            with torch._dynamo.config.patch(recompile_limit=1):
                yield

        {mark}
        @pytest.mark.parametrize("number", range(2))
        def test_patched(self, number):
            assert torch._dynamo.config.recompile_limit == 1
            greedy(f"patched {{number}}")

    def test_nothing_leaks():
        assert torch._dynamo.config.recompile_limit == 8
        assert torch._dynamo.config.accumulated_recompile_limit == 256
"""


def counts(machine: Machine, folder: Path, *arguments: str) -> tuple[Run, dict[str, int]]:
    run = start(machine, folder, *arguments)
    assert run.code == 0, run.out
    return run, json.loads((folder / "counts.json").read_text())


def test_test_that_itself_exceeds_the_limit_stops_where_it_stops_without_us(
    machine: Machine, project: Callable[..., Path]
):
    folder = project(test_greedy=GREEDY.format(mark=""))
    _, alone = counts(machine, folder, "-p", "no:compilecache", "-k", "test_greedy[0]")
    _, own = counts(machine, folder, "--compilecache-isolation=limit")
    assert alone == {"test 0": 8}
    each = {f"test {number}": 8 for number in range(3)}
    whole = {f"whole {number}": 8 for number in range(2)}
    assert own == {**each, **whole, "patched 0": 1, "patched 1": 1}
    folder = project(test_greedy=GREEDY.format(mark=MARKED))
    _, marked = counts(machine, folder)
    assert marked == own


def test_without_the_setting_counts_and_limits_are_torchs_and_tests_that_ran_eager_are_named(
    machine: Machine, project: Callable[..., Path]
):
    folder = project(test_greedy=GREEDY.format(mark=""))
    _, without = counts(machine, folder, "-p", "no:compilecache")
    run, with_us = counts(machine, folder)
    assert with_us == without
    assert with_us["test 0"] == 8
    assert with_us["test 1"] == 0
    run.line(r"^reached the recompile limit and ran eager:$")
    run.line(r"test_greedy\[0\]: f \(.*\): recompile_limit \(8\) reached; last recompile: .*size")
    run.line(r"test_greedy\[1\] and \d more: f \(.*\): earlier tests used up its recompile_limit")


SIX = """
    import json
    import os

    import pytest
    import torch

    def f(x):
        return x.sin() + x.shape[0]

    def recorder(name):
        def backend(graph, inputs):
            sizes = [str(one.shape) if hasattr(one, "shape") else "number" for one in inputs]
            with open("graphs.txt", "a") as file:
                file.write(json.dumps([name, sizes, graph.code]) + "\\n")
            return graph.forward
        return backend

    @pytest.mark.parametrize("size", range(3, 9))
    def test_size(size):
        torch.compile(f, backend=recorder(f"test {size}"))(torch.ones(size))
"""


def graphs(machine: Machine, folder: Path, *arguments: str) -> set[str]:
    (folder / "graphs.txt").unlink(missing_ok=True)
    run = start(machine, folder, *arguments)
    assert run.code == 0, run.out
    return set((folder / "graphs.txt").read_text().splitlines())


CONFTEST = """
    import os

    def pytest_collection_modifyitems(items):
        order = [int(number) for number in os.environ.get("ORDER", "012345")]
        items[:] = [items[number] for number in order if number < len(items)]
"""


def test_isolated_tests_compile_the_same_in_every_order_and_alone(
    machine: Machine, project: Callable[..., Path]
):
    folder = project(test_six=SIX, conftest=CONFTEST)
    option = "--compilecache-isolation=test"
    in_order = graphs(machine, folder, option)
    assert len(in_order) == 6
    for order in ("543210", "315204"):
        machine.variables["ORDER"] = order
        assert graphs(machine, folder, option) == in_order
    del machine.variables["ORDER"]
    assert graphs(machine, folder, option, "-n", "2") == in_order
    alone = [graphs(machine, folder, option, "-k", f"test_size[{size}]") for size in (3, 6)]
    assert set().union(*alone) <= in_order
    assert [len(each) for each in alone] == [1, 1]


def test_without_isolation_orders_differ_as_they_do_without_us(
    machine: Machine, project: Callable[..., Path]
):
    """Else the test above shows nothing."""
    folder = project(test_six=SIX, conftest=CONFTEST)
    without = graphs(machine, folder, "-p", "no:compilecache")
    assert graphs(machine, folder) == without
    machine.variables["ORDER"] = "543210"
    assert graphs(machine, folder) != without


MODEL = """
    import pytest
    import torch

    compiled = []

    def backend(graph, inputs):
        compiled.append(1)
        return graph.forward

    @pytest.fixture(scope="session")
    def model():
        return torch.compile(torch.nn.Linear(4, 4), backend=backend)

    @pytest.mark.compiled(isolation="test")
    @pytest.mark.parametrize("number", range(5))
    def test_isolated(number, model):
        model(torch.ones(3, 4))
        assert len(compiled) == 1

    def test_dynamic_sizes_of_an_isolated_test_are_not_those_of_the_next():
        seen = []
        def backend(graph, inputs):
            seen.append([type(one).__name__ for one in inputs])
            return graph.forward
        compiled = torch.compile(lambda x: x.cos(), backend=backend)
        compiled(torch.ones(5))
        assert seen == [["Tensor"]]
"""


def test_mark_isolates_and_keeps_a_model_of_the_session(
    machine: Machine, project: Callable[..., Path]
):
    run = start(machine, project(test_model=MODEL))
    assert run.code == 0, run.out
