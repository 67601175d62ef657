"""Several sessions, and a server's calls, in one process: right keys, and all is undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.machine import Machine

# What of torch's we change, and what it is before and after.
LOOK = """
import json, os, sys

def look():
    import torch, torch._dynamo, torch._inductor.compile_fx, torch._inductor.codecache as codecache
    import torch._functorch._aot_autograd.autograd_cache as autograd_cache
    from torch._dynamo import convert_frame, decorators, eval_frame, utils
    places = [
        codecache, codecache.FxGraphHashDetails, codecache.FxGraphCache,
        codecache.BypassFxGraphCache, autograd_cache.AOTAutogradCache,
        autograd_cache.BypassAOTAutogradCache, convert_frame, decorators, eval_frame,
        eval_frame._NullDecorator, torch.nn.Module, torch._TorchCompileInductorWrapper,
        torch._logging, torch._inductor.cpp_builder,
    ]
    seen = {}
    for place in places:
        for name, value in vars(place).items():
            if callable(value) or isinstance(value, (staticmethod, str)):
                seen[f"{place.__name__}.{name}"] = id(getattr(value, "__func__", value))
    return seen

def changed(before):
    after = look()
    torchs = {"Module.__init__", "Module.__setstate__"}  # Dynamo's own doing
    return sorted(key for key in before if before[key] != after.get(key) and key not in torchs)
"""

KEY = """
from torch._inductor.codecache import FxGraphCache, FxGraphHashDetails
def key_and_folder():
    tag = FxGraphHashDetails(None, [torch.ones(2)], {}, []).cache_key_tag
    return tag, FxGraphCache._get_tmp_dir().partition("/inductor/")[2]
"""

FALLS_BACK = """
import pytest
import torch
import torch._inductor.compile_fx as compile_fx

def wave(x):
    return x.sin()

def broken(*args, **kwargs):
    raise RuntimeError("no lowering for this")

@pytest.mark.compiled
def test_fallback(compile_model, monkeypatch):
    monkeypatch.setattr(compile_fx, "fx_codegen_and_compile", broken)
    compile_model(wave)(torch.ones(3))
    torch.compile(loops, backend="eager")(torch.ones(3))

def loops(x):
    for number in range(3):
        x = x + number
        torch._dynamo.graph_break()
    return x
"""

TWICE = (
    LOOK
    + """
import pytest
before = look()
sys.path.insert(0, os.getcwd())
options = ["-p", "no:cacheprovider", "-p", "no:randomly", "-q", "suite_of_fallbacks.py"]
for more in ([], ["--compilecache-fallback=eager"], []):
    print("SESSION")
    pytest.main([*options, *more])
print("CHANGED", changed(before), [name for name in os.environ if "COMPILECACHE" in name])
"""
)


def test_what_fell_back_in_a_session_is_reported_in_the_next_one_of_the_process(
    machine: Machine, tmp_path: Path
):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "suite_of_fallbacks.py").write_text(FALLS_BACK)
    run = machine.python(TWICE, cwd=tmp_path)
    assert run.code == 0, run.out
    sessions = run.out.split("SESSION\n")[1:]
    assert len(sessions) == 3
    for session in sessions:
        assert "1 passed" in session, session
        assert "did not compile and ran eager:" in session, session
        assert "no lowering for this" in session
        assert "ran eager, because Dynamo skipped it:" in session, session
    run.line(r"^CHANGED \[\] \[\]$")


OUTER = """
import os
import pytest
import torch
{key}
from pytest_compilecache import load_compile_cache, save_compile_cache
from pytest_compilecache.api import _process

pytest_plugins = ["pytester"]

def test_server_under_test(monkeypatch, tmp_path):
    monkeypatch.setenv("LOCAL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("B10FS_CACHE_DIR", str(tmp_path / "store"))
    outer, folder = key_and_folder()
    load_compile_cache()
    mine = os.environ["TORCHINDUCTOR_CACHE_DIR"]
    assert str(tmp_path) in mine
    assert key_and_folder() == (outer, folder)
    assert outer.count("+isa=") == 1
    assert folder.count("guarded") == 1
    torch.compile(lambda x: x.sin() + 3)(torch.ones(3))
    assert save_compile_cache().name == "SUCCESS"
    _process().end()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] != mine
    assert key_and_folder() == (outer, folder)

def test_session_in_a_session(pytester, compile_stats):
    # What is first imported within the inner one, pytester takes away again.
    torch.compile(lambda x: x.tan(), backend="eager")(torch.ones(2))
    key = key_and_folder()
    pytester.makepyfile(
        "import torch\\n"
        "def test_inner(compile_stats):\\n"
        "    torch.compile(lambda x: x.cos(), backend='eager')(torch.ones(2))\\n"
        "    assert compile_stats.graphs == 1\\n"
    )
    pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=1)
    assert compile_stats.graphs == 1  # nothing of the inner one's
    assert key_and_folder() == key
    torch.compile(lambda x: x.sin(), backend="eager")(torch.ones(2))
    assert compile_stats.graphs == 2
"""
MAIN = (
    LOOK
    + """
import pytest
before = look()
code = pytest.main(["-p", "no:cacheprovider", "-p", "no:randomly", "-q", "-W", "ignore"])
print("CODE", int(code), "CHANGED", changed(before))
"""
)


def test_calls_and_sessions_within_a_session_keep_its_keys_and_are_undone(
    machine: Machine, project: Callable[..., Path]
):
    machine.variables["TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS"] = "0"
    run = machine.python(MAIN, cwd=project(test_outer=OUTER.format(key=KEY)))
    assert run.code == 0, run.out
    run.line(r"^CODE 0 CHANGED \[\]$")


COLLECTED = """
import pytest
import torch

@pytest.mark.compiled
def test_it(compiled_model):
    pass
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "a worker"])
def test_collecting_alone_restores_saves_and_evicts_nothing(
    workers: tuple[str, ...], machine: Machine, project: Callable[..., Path], tmp_path: Path
):
    folder = project(test_collected=COLLECTED)
    run = machine.pytest(
        "--collect-only", "-q", f"--compilecache-store={tmp_path / 'store'}", *workers, cwd=folder
    )
    assert run.code == 0, run.out
    assert "1 test collected" in run.out
    assert "compilecache:" not in run.out
    assert not (tmp_path / "store").exists()
    assert list((machine.home / ".cache").rglob("*")) == []


CRASH = """
import os, pathlib, signal
import pytest
import torch

def artifact(name):
    folder = pathlib.Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]) / name[1:3]
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text("x = 1\\n")

def test_a_crash():
    if "CRASH" in os.environ:
        artifact("cabcrash")
        os.kill(os.getpid(), signal.SIGSEGV)

def test_b_passes():
    artifact("cab" + os.environ["NAME"])
"""


def test_what_a_worker_made_before_it_crashed_is_published_by_no_session(
    machine: Machine, project: Callable[..., Path], tmp_path: Path
):
    folder, store = project(test_crash=CRASH), tmp_path / "store"
    options = ("-q", f"--compilecache-store={store}")
    crashed = machine.pytest(*options, "-n", "1", cwd=folder, env={"CRASH": "1", "NAME": "one"})
    assert crashed.code == 1, crashed.out
    assert "1 failed, 1 passed" in crashed.out
    assert machine.workspace_files("cabcrash.py")
    assert not list(store.rglob("*.pack"))
    later = machine.pytest(*options, cwd=folder, env={"NAME": "two"})
    assert later.code == 0, later.out
    assert list(store.rglob("*.pack"))
    machine.start_over()
    machine.pytest(*options, "-k", "nothing", cwd=folder)
    names = {path.name for path in machine.workspace_files("cab*.py")}
    assert names == {"cabtwo.py"}
