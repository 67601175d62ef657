"""Each contract, broken: the test fails at its end with what happened, where, and what to do."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.machine import Machine, Run, write_project

# Broken on purpose. What the messages name are the lines of this file.
SUITE = """\
import pytest, unittest
import torch

def wave(x):
    return x.sin() + 1

def breaking(x):
    x = x.sin()
    torch._dynamo.graph_break()
    return x.cos()

def greedy(x):
    return x.cos()

def raising(x):
    raise ValueError("mine")

def eagerly(function):
    return torch.compile(function, backend="aot_eager", dynamic=False)

@pytest.mark.compiled(backend="aot_eager", fullgraph=True)
def test_fullgraph(compile_model):
    compile_model(breaking)(torch.ones(3))

@pytest.mark.compiled(fullgraph=True)
def test_fullgraph_of_plain_calls():
    eagerly(breaking)(torch.ones(3))

@pytest.mark.compiled(backend="aot_eager")
def test_fullgraph_asked_of_the_fixture(compile_model):
    compile_model(breaking, fullgraph=True)(torch.ones(3))

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

@pytest.mark.compiled(max_graph_breaks=0, max_graphs=0, fallback="fail", backend="aot_eager")
def test_own_error_breaks_nothing(compile_model):
    with pytest.raises(ValueError, match="^mine$"):
        compile_model(raising)(torch.ones(3))

@pytest.mark.compiled(max_graphs=0)
def test_that_fails_by_itself_says_why():
    eagerly(wave)(torch.ones(3))
    assert False, "by itself"

@pytest.mark.compiled(max_graphs=0)
class TestOld(unittest.TestCase):
    def test_that_fails_by_itself(self):
        eagerly(wave)(torch.ones(3))
        self.assertEqual(1, 2, "by itself")

@pytest.mark.compiled(
    fullgraph=True, max_graphs=1, max_graph_breaks=0, max_recompiles=0, max_compile_seconds=600,
    fallback="fail", backend="aot_eager",
)
def test_kept(compile_model):
    compile_model(wave)(torch.ones(3))
"""

CONFTEST = """
    import json

    messages, sections = {}, {}

    def pytest_runtest_logreport(report):
        if report.failed:
            name = report.nodeid.partition("::")[2]
            messages[name] = report.longreprtext
            sections[name] = [text for title, text in report.sections if "contract" in title]

    def pytest_sessionfinish():
        with open("messages.json", "w") as file:
            json.dump([messages, sections], file)
"""

BREAK = (
    "breaking (test_contracts.py:9): Call to `torch._dynamo.graph_break()` Explanation: "
    "User-inserted graph break. Message: None Hint: Remove the `torch._dynamo.graph_break()` call."
)
WHOLE = """\
broken contract:
fullgraph=True, but the graph broke once
  - {}
  What to do: change that line, or allow it: max_graph_breaks instead of fullgraph."""
AGAIN = "wave (test_contracts.py:4): tensor 'x' size mismatch at index 0. expected {}, actual {}"

MESSAGES = {
    "test_fullgraph_of_plain_calls": WHOLE.format(BREAK),
    "test_max_graphs": f"""\
broken contract:
max_graphs=1, but it captured 2 graphs
  - {AGAIN.format(2, 3)}
  What to do: every recompile and every graph break makes one more.""",
    "test_max_graph_breaks": f"""\
broken contract:
max_graph_breaks=0, but the graph broke once
  - {BREAK}
  What to do: change the line that is named first; the next one may follow from it.""",
    "test_max_recompiles": f"""\
broken contract:
max_recompiles=1, but functions were compiled again 2 times
  - {AGAIN.format(2, 3)}
  - {AGAIN.format(3, 4)}
  What to do: dynamic=True, or torch._dynamo.mark_dynamic, for a size that varies; \
a module attribute or a number that varies is better passed as a tensor.""",
    "test_max_compile_seconds": """\
broken contract:
max_compile_seconds=0.001, but compiling took N s (0 misses, 0 builds)
  What to do: a cold cache compiles: combine it with a store, or allow what a cold run takes.""",
    "test_warm": """\
broken contract:
warm=True, but not all came from the cache: 1 miss, 0 hits, N builds
  What to do: run it once with the same store, environment and options; \
the summary says what differs.""",
    "test_warm_and_nothing_compiled": """\
broken contract:
warm=True, but nothing was compiled
  What to do: run it once with the same store, environment and options; \
the summary says what differs.""",
    "test_never_eager": """\
broken contract:
fallback='fail', but what was to be compiled ran eager once
  - greedy (test_contracts.py:12): recompile_limit (1) reached; \
last recompile: tensor 'x' size mismatch at index 0. expected 2, actual 3
  What to do: mend what is named; fallback='eager' allows it and says so.""",
    "test_two_at_once": f"""\
broken contracts:
{WHOLE.format(BREAK).partition(":")[2].strip()}
max_graphs=1, but it captured 2 graphs
  - {BREAK}
  What to do: every recompile and every graph break makes one more.""",
    "TestOfAClass::test_inherits": """\
broken contract:
max_graphs=0, but it captured 1 graph
  What to do: every recompile and every graph break makes one more.""",
    "test_that_fails_by_itself_says_why": "E   AssertionError: by itself\nE   assert False",
    "TestOld::test_that_fails_by_itself": "E   AssertionError: 1 != 2 : by itself",
}
VARIES = (
    (re.compile(r"took \d+\.\d s"), "took N s"),
    (re.compile(r"\d+ builds\n"), "N builds\n"),
)


class Told(NamedTuple):
    """The suite's session, and what it told of each test that failed."""

    run: Run
    messages: dict[str, str]
    sections: dict[str, list[str]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Told:
    root = tmp_path_factory.mktemp("contracts")
    folder = write_project(root / "project", test_contracts=SUITE, conftest=CONFTEST)
    machine = Machine(root / "machine")
    # One kernel is compiled, for which a precompiled header would cost more than it saves.
    machine.variables["TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"] = "0"
    run = machine.pytest("--tb=short", cwd=folder)
    messages, sections = json.loads((folder / "messages.json").read_text())
    return Told(run, {name: _plain(text, folder) for name, text in messages.items()}, sections)


def _plain(message: str, folder: Path) -> str:
    text = message.replace(f"{folder}{os.sep}", "")
    for pattern, replacement in VARIES:
        text = pattern.sub(replacement, text)
    return text


@pytest.mark.parametrize("name", MESSAGES)
def test_broken_contract_says_what_where_why_and_what_to_do(name: str, ran: Told):
    assert ran.messages[name].endswith(MESSAGES[name])
    assert ran.messages[name].count("What to do:") == MESSAGES[name].count("What to do:")


def test_broken_contract_of_a_test_that_fails_by_itself_is_a_section_of_its_report(ran: Told):
    told = [name for name, sections in ran.sections.items() if sections]
    assert sorted(told) == [name for name in sorted(MESSAGES) if "by_itself" in name]
    for name in told:
        (section,) = ran.sections[name]
        assert section.startswith("max_graphs=0, but it captured 1 graph\n")
    assert re.search(r"^-+ broken contract -+$", ran.run.out, re.MULTILINE)


def test_what_the_fixture_was_to_make_one_graph_fails_with_torchs_own_error(ran: Told):
    for name in ("test_fullgraph", "test_fullgraph_asked_of_the_fixture"):
        message = ran.messages[name]
        assert "Unsupported: Call to `torch._dynamo.graph_break()`" in message
        assert "broken contract" not in message


def test_kept_contracts_fail_nothing_and_the_users_own_error_breaks_none(ran: Told):
    whole = {"test_fullgraph", "test_fullgraph_asked_of_the_fixture"}
    assert set(ran.messages) == whole | set(MESSAGES)
    ran.run.line(r"= 14 failed, 3 passed")


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("max_graphs=-1", "has max_graphs=-1; use a whole number, 0 or more"),
        ("max_recompiles=True", "has max_recompiles=True; use a whole number"),
        ("max_graph_breaks='2'", "has max_graph_breaks='2'; use a whole number"),
        ("max_compile_seconds=0", "has max_compile_seconds=0; use a number of seconds above 0"),
        ("warm=1", "has warm=1, of a wrong type"),
        ("fullgraph=True, max_graph_breaks=2", "allows 2 graph breaks (max_graph_breaks) and none"),
        ("never_eager=True", "has no argument 'never_eager'"),
    ],
)
def test_contract_that_cannot_be_meant_fails_collection_with_the_tests_name(
    mark: str, message: str, machine: Machine, tmp_path: Path
):
    text = f"import pytest\n@pytest.mark.compiled({mark})\ndef test_it(): pass\n"
    run = machine.pytest(cwd=write_project(tmp_path / "project", test_mark=text))
    assert run.code == 2, run.out
    assert "test_mark.py::test_it: mark 'compiled'" in run.out
    assert message in run.out
