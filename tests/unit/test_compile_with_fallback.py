"""compile_with_fallback in a process of its own: a server has no pytest around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

PREAMBLE = """
import json, logging, sys
import torch
import torch._inductor.compile_fx as compile_fx
from pytest_compilecache import compile_with_fallback

def fail(*args, **kwargs):
    raise RuntimeError("no lowering for it")

class Counting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        return torch.relu(self.linear(x))

def breaks(x):
    x = x + 1
    torch._dynamo.graph_break()
    return x * 2

def wrong(x):
    raise KeyError("the model's own")

model, x, told = Counting(), torch.randn(2, 4), []
compile_fx.fx_codegen_and_compile = fail
"""


# What a server imports; Dynamo is loaded by the first call that compiles.
SERVER = """
import json
import torch
from pytest_compilecache import compile_with_fallback

told, x = [], torch.ones(2)

def breaks(x):
    x = x + 1
    torch._dynamo.graph_break()
    return x * 2
"""


def run(tmp_path: Path, script: str, preamble: str = PREAMBLE) -> tuple[Any, str]:
    """What a script prints as JSON, and its log."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
    }
    done = subprocess.run(
        [sys.executable, "-c", preamble + script],
        env=environ,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_what_does_not_compile_runs_eager_forward_and_backward_and_is_logged_once(tmp_path: Path):
    script = """
compiled = compile_with_fallback(model)
for _ in range(3):
    compiled(x).sum().backward()
want = torch.nn.functional.relu(model.linear(x))
torch.testing.assert_close(compiled(x), want)
print(json.dumps([model.calls, isinstance(compiled, torch.nn.Module)]))
"""
    (calls, is_module), log = run(tmp_path, script)
    assert calls == 4
    assert is_module
    assert log.count("did not compile and runs eager: forward (<string>") == 1
    assert "no lowering for it" in log


def test_callback_is_told_instead_of_the_log_each_caller_of_its_own_failures(tmp_path: Path):
    script = """
one, other = [], []
compile_with_fallback(model, on_fallback=one.append)(x)
compile_with_fallback(model, on_fallback=other.append)(x)
told = [one[0].reason, one[0].function, type(one[0].error).__name__, len(one), len(other)]
print(json.dumps(told))
"""
    (reason, function, error, *counts), log = run(tmp_path, script)
    assert reason == "RuntimeError: no lowering for it"
    assert function.startswith("forward (<string>:")
    assert error in {"RuntimeError", "InductorError"}
    assert counts == [1, 1]
    assert "did not compile" not in log


def test_mode_fail_raises_what_torch_raises_and_nothing_ran(tmp_path: Path):
    script = """
try:
    compile_with_fallback(model, fallback="fail")(x)
except Exception as error:
    told = [isinstance(error, torch._dynamo.exc.BackendCompilerFailed), str(error)[:80]]
print(json.dumps([*told, compile_with_fallback(model)(x).shape == (2, 4)]))
"""
    (is_torchs, text, works), _ = run(tmp_path, script)
    assert is_torchs
    assert "no lowering for it" in text
    assert works


def test_models_own_error_arrives_unchanged_and_is_no_fallback(tmp_path: Path):
    script = """
found = []
for fullgraph in (False, True):
    try:
        compile_with_fallback(wrong, fullgraph=fullgraph, on_fallback=told.append)(x)
    except Exception as error:
        found.append([type(error).__name__, str(error)])
print(json.dumps([found, len(told)]))
"""
    (found, told), _ = run(tmp_path, script)
    assert found == [["KeyError", repr("the model's own")]] * 2
    assert told == 0


def test_model_that_is_not_one_graph_runs_eager_under_fullgraph_each_time(tmp_path: Path):
    script = """
compiled = compile_with_fallback(breaks, fullgraph=True, on_fallback=told.append)
values = [compiled(torch.ones(2)).tolist() for _ in range(3)]
print(json.dumps([values, [failure.whole for failure in told], told[0].function]))
"""
    (values, whole, function), _ = run(tmp_path, script)
    assert values == [[4.0, 4.0]] * 3
    assert whole == [True]
    assert function.startswith("breaks (<string>:")


def test_server_that_loaded_nothing_but_torch_falls_back_on_what_dynamo_cannot_do(tmp_path: Path):
    script = """
call = dict(backend="aot_eager", fullgraph=True, on_fallback=told.append)
values = compile_with_fallback(breaks, **call)(x).tolist()
mapped = torch.vmap(compile_with_fallback(torch.sin, **call))(x).shape
print(json.dumps([values, list(mapped), [failure.reason for failure in told]]))
"""
    (values, mapped, reasons), _ = run(tmp_path, script, SERVER)
    assert values == [4.0, 4.0]
    assert mapped == [2]
    assert [reason.partition(":")[0] for reason in reasons] == ["Unsupported"] * 2


def test_function_past_the_recompile_limit_is_told_once_whatever_was_asked(tmp_path: Path):
    script = """
def three_more(x):
    return x + 3
def sizes(compiled):
    return [compiled(torch.ones(size)).numel() for size in range(2, 14)]
call = dict(backend="aot_eager", dynamic=False)
found = []
for more in (dict(fullgraph=True), dict(), dict(fallback="fail")):
    told = []
    torch._dynamo.reset()
    values = sizes(compile_with_fallback(three_more, on_fallback=told.append, **call, **more))
    found.append([values, [(failure.function, failure.reason) for failure in told]])
sizes(compile_with_fallback(lambda x: x + 1, **call))
print(json.dumps(found))
"""
    found, log = run(tmp_path, script, SERVER)
    for values, told in found:
        assert values == [*range(2, 14)]
        ((function, reason),) = told
        assert function.startswith("three_more (<string>:")
        assert "recompile" in reason.lower()
    assert found[1][1][0][1].startswith("recompile_limit (8) reached; last recompile: ")
    assert log.count("runs eager: <lambda> (<string>:") == 1


def test_skipped_function_is_told(tmp_path: Path):
    script = """
def loops(x):
    for _ in range(2):
        x = x + 1
        torch._dynamo.graph_break()
    return x
compiled = compile_with_fallback(loops, backend="aot_eager", on_fallback=told.append)
print(json.dumps([compiled(x).tolist(), [failure.function for failure in told]]))
"""
    (values, functions), _ = run(tmp_path, script, SERVER)
    assert values == [3.0, 3.0]
    assert [each.partition(" ")[0] for each in functions] == ["loops"]


def test_compiling_that_is_turned_off_is_told(tmp_path: Path):
    turned_off = 'import os; os.environ["TORCH_COMPILE_DISABLE"] = "1"'
    script = """
compiled = compile_with_fallback(breaks, fullgraph=True)
print(json.dumps(compiled(x).tolist()))
"""
    values, log = run(tmp_path, script, turned_off + SERVER)
    assert values == [4.0, 4.0]
    assert "runs eager: breaks: compiling is turned off, as by TORCH_COMPILE_DISABLE" in log


def test_compiled_model_is_copied_and_pickled_with_its_fallback(tmp_path: Path):
    script = """
import copy, pickle
class Model(torch.nn.Linear):
    def forward(self, x):
        torch._dynamo.graph_break()
        return super().forward(x)
model = Model(2, 2)
compiled = compile_with_fallback(model, fullgraph=True, backend="aot_eager", sdpa="math")
copies = [copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))]
same = [torch.equal(one(x), model(x)) for one in copies]
with torch.no_grad():
    model.weight.zero_()
apart = [not torch.equal(one(x), model(x)) for one in copies]
print(json.dumps([same, apart, [type(one).__name__ for one in copies]]))
"""
    (same, apart, kinds), log = run(tmp_path, script, SERVER)
    assert same == apart == [True, True]
    assert kinds == ["OptimizedModule"] * 2
    assert "did not compile and runs eager" in log


def test_what_is_compiled_already_may_be_compiled_again(tmp_path: Path):
    script = """
call = dict(backend="aot_eager", on_fallback=told.append)
once = compile_with_fallback(torch.sin, **call)
again = [compile_with_fallback(once, **call), torch.compile(once, backend="aot_eager")]
print(json.dumps([torch.equal(one(x), x.sin()) for one in again]))
"""
    (same, _) = run(tmp_path, script, SERVER)
    assert same == [True, True]


def test_wrong_argument_is_told_at_once(tmp_path: Path):
    calls = {
        "compile_with_fallback(model, fallback='skip')": "use 'eager' or 'fail'",
        "compile_with_fallback(None)": "None cannot be called",
        "compile_with_fallback(model, on_fallback=3)": "on_fallback=3 cannot be called",
        "compile_with_fallback(model, fullgrap=True)": "fullgrap: there is no such option",
        "compile_with_fallback(model, mode='default', options={'max_autotune': True})": (
            "either mode or options"
        ),
    }
    script = f"""
for call in {list(calls)}:
    try:
        eval(call)
    except ValueError as error:
        told.append(str(error))
print(json.dumps(told))
"""
    said, _ = run(tmp_path, script)
    assert len(said) == len(calls)
    for text, expected in zip(said, calls.values(), strict=True):
        assert expected in text
