"""Whatever of ours raises: the same outcomes, one warning that names the hook, all undone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.machine import Machine
from tests.e2e.test_sessions_in_sessions import LOOK

SUITE = """
    import subprocess
    import sys

    import pytest
    import torch
    from hypothesis import given, settings, strategies as st

    def wave(x):
        return x.sin() + 1

    def loops(x):
        for number in range(3):
            x = x + number
            torch._dynamo.graph_break()
        return x

    def breaks(x):
        torch._dynamo.graph_break()
        return x.tan()

    def greedy(x):
        return x.cos()

    class Wrong(torch.nn.Module):
        def forward(self, x):
            raise LookupError("mine")

    def test_inductor():
        torch.compile(wave)(torch.ones(3))

    @pytest.mark.compiled(backend="eager", max_graphs=5, fallback="fail")
    def test_marked(compiled_model, compile_stats, model):
        compiled_model(torch.ones(2, 2))
        assert compile_stats.events is not None

    @pytest.fixture
    def model():
        return torch.nn.Linear(2, 2)

    @pytest.mark.parametrize("number", range(2))
    def test_limit(number):
        compiled = torch.compile(greedy, backend="eager", dynamic=False)
        with torch._dynamo.config.patch(recompile_limit=2):
            for size in range(3, 7):
                compiled(torch.ones(size))

    @pytest.mark.parametrize("number", range(2))
    def test_skip(number):
        assert torch.compile(loops, backend="eager")(torch.ones(3)).tolist() == [4, 4, 4]

    def test_turned_off():
        with torch._dynamo.config.patch(disable=True):
            torch.compile(wave, backend="eager")(torch.ones(3))
        with torch.compiler.set_stance("force_eager"):
            torch.compile(wave, backend="eager")(torch.ones(3))
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
        model.compile(backend="eager")
        model(torch.ones(3))

    def test_error_is_torchs():
        with pytest.raises(torch._dynamo.exc.Unsupported):
            torch.compile(breaks, backend="eager", fullgraph=True)(torch.ones(3))
        with pytest.raises(LookupError, match="^mine$"):
            torch.compile(Wrong(), backend="eager")(torch.ones(3))

    def test_fails_by_itself():
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        assert torch.compile(wave, backend="eager")(torch.ones(3)) is None

    @pytest.mark.compiled(backend="eager")
    @given(size=st.integers(3, 5))
    @settings(max_examples=3, database=None, deadline=None)
    def test_given(size, compile_model):
        compile_model(wave)(torch.ones(size))
"""

# One process: a session takes a moment when torch is there.
DRIVER = (
    LOOK
    + """
import collections, contextlib, io
import pytest, torch, torch._dynamo
from pytest_compilecache.guard import Guard

call, met = Guard.call, {}
plan = {"hook": None, "late": False, "made": 0}

def call_or_fail(self, hook, function, /, *args, **kwargs):
    met[hook] = met.get(hook, 0) + 1
    if hook == plan["hook"]:
        def broken(*args, **kwargs):
            plan["made"] += 1
            if plan["late"]:
                function(*args, **kwargs)
            raise RuntimeError("planted")
        return call(self, hook, broken, *args, **kwargs)
    return call(self, hook, function, *args, **kwargs)

Guard.call = call_or_fail

class Outcomes:
    def __init__(self):
        self.seen = {}
    def pytest_runtest_logreport(self, report):
        if report.when == "call" or report.outcome != "passed":
            self.seen[report.nodeid.replace("compiled-", "")] = report.outcome

def session():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    outcomes, out = Outcomes(), io.StringIO()
    options = ["-p", "no:cacheprovider", "-p", "no:randomly", "-q", "--tb=no", "-W", "ignore",
               "--compilecache-store=store", "--compilecache-report=report.json"]
    environ = dict(os.environ)
    with contextlib.redirect_stdout(out):
        code = pytest.main(options, plugins=[outcomes])
    text = out.getvalue()
    return {
        "code": int(code),
        "outcomes": outcomes.seen,
        "warnings": [line for line in text.splitlines() if "warning: " in line],
        "environ": {
            name for name in {*environ, *os.environ} - {"PYTEST_VERSION"}
            if environ.get(name) != os.environ.get(name)
        },
        "changed": changed(before),
        "broken": "INTERNALERROR" in text or "Traceback" in text,
        "tail": text[-1500:],
    }

HALF_DONE = {"import torch"} | {
    f"pytest_{name}" for name in ("runtest_setup", "runtest_teardown", "sessionfinish")
}
before = look()
session()  # torch sets variables of its own
before = look()
met.clear()
results = {"": session()}
for hook in list(met):
    # Where it had done its work, or half of it, there is more to undo.
    for late in (False, True) if hook in HALF_DONE else (False,):
        plan.update(hook=hook, late=late, made=0)
        results[f"{hook}, {'late' if late else 'early'}"] = {**session(), "made": plan["made"]}
plan.update(hook=None)
results["after all"] = session()
with open("results.json", "w") as file:
    json.dump(results, file, default=sorted)
"""
)


def test_outcomes_are_the_same_whichever_hook_fails(machine: Machine, project: Callable[..., Path]):
    folder = project(test_suite=SUITE)
    machine.variables["TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"] = "0"
    run = machine.python(DRIVER, cwd=folder)
    assert run.code == 0, run.out
    results: dict[str, dict[str, Any]] = json.loads((folder / "results.json").read_text())
    expected, healthy = results.pop(""), results.pop("after all")
    assert len(results) > 25, "few hooks were called, so this test shows little"
    assert expected["code"] == 1
    assert sum(outcome == "failed" for outcome in expected["outcomes"].values()) == 1
    for result in (expected, healthy):
        assert result["warnings"] == []
        assert result["outcomes"] == expected["outcomes"]
    for name, result in results.items():
        hook = name.rpartition(", ")[0]
        assert result["outcomes"] == expected["outcomes"], name
        assert result["code"] == expected["code"], name
        assert not result["broken"], (name, result["tail"])
        (warning,) = result["warnings"] or [f"none: {name}: {result['tail']}"]
        assert f"the hook {hook}: RuntimeError: planted" in warning, name
        assert result["environ"] == [], name
        assert result["changed"] == [], name
        assert result["made"] >= 1, name
