"""Each contract, broken: the test fails at its end with what happened, where, and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Machine, Run

SUITE = """\
import pytest
import torch

def wave(x):
    return x.sin() + 1

def breaking(x):
    x = x.sin()
    torch._dynamo.graph_break()
    return x.cos()

def branching(x):
    if x.sum() > 0:
        return x + 1
    return x - 1

def greedy(x):
    return x.cos()

def raising(x):
    raise ValueError("mine")

def eagerly(function):
    return torch.compile(function, backend="aot_eager", dynamic=False)

@pytest.mark.compiled(backend="aot_eager", fullgraph=True)
def test_fullgraph(compile_model):
    compile_model(branching)(torch.ones(3))

@pytest.mark.compiled(fullgraph=True)
def test_fullgraph_of_plain_calls():
    eagerly(breaking)(torch.ones(3))

@pytest.mark.compiled(backend="aot_eager")
def test_fullgraph_asked_of_the_fixture(compile_model):
    compile_model(branching, fullgraph=True)(torch.ones(3))

@pytest.mark.compiled(max_graphs=1)
def test_max_graphs():
    compiled = eagerly(wave)
    compiled(torch.ones(2))
    compiled(torch.ones(3))

@pytest.mark.compiled(max_graph_breaks=0)
def test_max_graph_breaks():
    eagerly(breaking)(torch.ones(3))

@pytest.mark.compiled(max_recompiles=1, backend="aot_eager", dynamic=False)
def test_max_recompiles(compile_model):
    compiled = compile_model(wave)
    for size in (2, 3, 4):
        compiled(torch.ones(size))

@pytest.mark.compiled(max_compile_seconds=0.001)
def test_max_compile_seconds():
    eagerly(wave)(torch.ones(3))

@pytest.mark.compiled(warm=True)
def test_warm():
    torch.compile(wave)(torch.ones(7))

@pytest.mark.compiled(warm=True)
def test_warm_and_nothing_compiled():
    wave(torch.ones(7))

@pytest.mark.compiled(fallback="fail")
def test_never_eager():
    compiled = eagerly(greedy)
    with torch._dynamo.config.patch(recompile_limit=1):
        compiled(torch.ones(2))
        compiled(torch.ones(3))

@pytest.mark.compiled(fullgraph=True, max_graphs=1)
def test_two_at_once():
    eagerly(breaking)(torch.ones(3))

@pytest.mark.compiled(max_graphs=0)
class TestOfAClass:
    def test_inherits(self):
        eagerly(wave)(torch.ones(3))

    @pytest.mark.compiled(max_graphs=1)
    def test_overrides(self):
        eagerly(wave)(torch.ones(3))

@pytest.mark.compiled(fullgraph=True, max_graphs=0, fallback="fail", backend="aot_eager")
def test_own_error_breaks_nothing(compile_model):
    with pytest.raises(ValueError, match="^mine$"):
        compile_model(raising)(torch.ones(3))

@pytest.mark.compiled(max_graphs=0)
def test_that_fails_by_itself_says_why():
    eagerly(wave)(torch.ones(3))
    assert False, "by itself"

@pytest.mark.compiled(
    fullgraph=True, max_graphs=1, max_graph_breaks=0, max_recompiles=0, max_compile_seconds=600,
    fallback="fail", backend="aot_eager",
)
def test_kept(compile_model):
    compile_model(wave)(torch.ones(3))
"""

CONFTEST = """
    import json

    messages = {}

    def pytest_runtest_logreport(report):
        if report.failed:
            messages[report.nodeid.partition("::")[2]] = report.longreprtext

    def pytest_sessionfinish():
        with open("messages.json", "w") as file:
            json.dump(messages, file)
"""
