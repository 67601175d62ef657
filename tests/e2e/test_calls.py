"""Servers: fresh processes that load, compile and save, on machines that come and go."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.machine import Machine, Run
from tests.e2e.test_isa import needs_avx512

PROGRAM = """
import logging
import os
import sys

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")

from pytest_compilecache import load_compile_cache, save_compile_cache

def load():
    print("loaded:", load_compile_cache().name)

def save():
    print("saved:", save_compile_cache().name)

def serve(inputs=1003):
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.5))

        def forward(self, x):
            x = self.scale * x
            return torch.relu(x.exp() + x.sin() * 2)

    torch.manual_seed(0)
    model = Model().eval()
    x = torch.randn(inputs)
    with torch.no_grad():
        got, expected = torch.compile(model, dynamic=False)(x), model(x)
    print("wrong values:", int((~torch.isclose(got, expected)).sum()))
    from torch._dynamo.utils import counters
    print("hits:", counters["inductor"]["fxgraph_cache_hit"])

"""


@dataclass(frozen=True)
class Served:
    """What the first replica of a deployment left behind."""

    store: Path
    run: Run
    tmp: Path


def program(*steps: str) -> str:
    return PROGRAM + "\n".join(textwrap.dedent(step) for step in steps)


def said(run: Run, what: str) -> list[str]:
    assert run.code == 0, run.out
    prefix = f"{what}: "
    return [line[len(prefix) :] for line in run.out.splitlines() if line.startswith(prefix)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """One cold replica that many tests start from; nobody may change what it left."""
    root = tmp_path_factory.mktemp("served")
    machine = Machine(root / "machine")
    store = root / "store"
    code = program("load()", "serve()", "save()", "save()")
    run = machine.python(code, cwd=root, env={"B10FS_CACHE_DIR": str(store)})
    return Served(store, run, machine.tmp)


@pytest.fixture
def replica(served: Served, machine: Machine, tmp_path: Path) -> Machine:
    """A machine without anything but a copy of the deployment's store."""
    store = shutil.copytree(served.store, tmp_path / "store")
    machine.variables["B10FS_CACHE_DIR"] = str(store)
    return machine


def test_first_replica_finds_nothing_compiles_and_saves_once(served: Served):
    assert said(served.run, "loaded") == ["DOES_NOT_EXIST"]
    assert said(served.run, "wrong values") == ["0"]
    assert said(served.run, "saved") == ["SUCCESS", "SKIPPED"]
    assert len(served.run.built) > 2
    assert "WARNING" not in served.run.out


@pytest.mark.parametrize(
    "steps",
    [("load()", "load()", "serve()"), ("import torch", "load()", "load()", "serve()")],
    ids=["before torch", "after torch"],
)
def test_next_replica_builds_nothing(steps: tuple[str, ...], replica: Machine, tmp_path: Path):
    run = replica.python(program(*steps, "save()"), cwd=tmp_path)
    assert said(run, "loaded") == ["SUCCESS", "SKIPPED"]
    assert said(run, "wrong values") == ["0"]
    assert said(run, "hits") == ["1"]
    assert said(run, "saved") == ["SKIPPED"]
    assert run.built == ()


def test_replica_whose_home_and_temp_directory_were_wiped_builds_nothing(
    replica: Machine, tmp_path: Path
):
    """With a folder of its own for Inductor, and the workspace somewhere else than before."""
    environ = {
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
        "LOCAL_WORK_DIR": str(tmp_path / "work"),
    }
    first = replica.python(program("load()", "serve(500)", "save()"), cwd=tmp_path, env=environ)
    assert said(first, "saved") == ["SUCCESS"]
    assert first.built
    for folder in ("inductor", "work"):
        shutil.rmtree(tmp_path / folder)
    replica.start_over()
    again = replica.python(program("load()", "serve(500)"), cwd=tmp_path)
    assert said(again, "loaded") == ["SUCCESS"]
    assert said(again, "wrong values") == ["0"]
    assert again.built == ()


def test_forked_workers_use_what_their_parent_loaded(replica: Machine, tmp_path: Path):
    fork = """
        load()
        sys.stdout.flush()
        workers = [os.fork() or (serve(), sys.stdout.flush(), os._exit(0)) for _ in range(2)]
        assert [os.waitpid(worker, 0)[1] for worker in workers] == [0, 0]
    """
    run = replica.python(program(fork), cwd=tmp_path)
    assert said(run, "wrong values") == ["0", "0"]
    assert said(run, "hits") == ["1", "1"]
    assert run.built == ()


def test_workers_that_load_at_once_restore_once(replica: Machine, tmp_path: Path):
    command = [sys.executable, "-c", program("load()")]
    workers = [
        subprocess.Popen(
            command, cwd=tmp_path, env=replica.environ(), text=True, stdout=subprocess.PIPE
        )
        for _ in range(5)
    ]
    out = [worker.communicate()[0].strip() for worker in workers]
    assert sorted(out) == ["loaded: SKIPPED"] * 4 + ["loaded: SUCCESS"]


@needs_avx512
def test_processor_with_fewer_instructions_finds_nothing_and_is_right(
    replica: Machine, tmp_path: Path
):
    lower = {"ATEN_CPU_CAPABILITY": "avx2"}
    run = replica.python(program("load()", "serve()", "save()"), cwd=tmp_path, env=lower)
    assert said(run, "loaded") == ["DOES_NOT_EXIST"]
    assert said(run, "hits") == ["0"]
    assert said(run, "wrong values") == ["0"]
    assert said(run, "saved") == ["SUCCESS"]
    assert len(list((tmp_path / "store" / "v1").iterdir())) == 2


@needs_avx512
@pytest.mark.parametrize(
    "steps",
    [
        ("load()", "os.environ['ATEN_CPU_CAPABILITY'] = 'avx2'"),
        (
            "import torch._inductor.codecache",
            "load()",
            "os.environ['ATEN_CPU_CAPABILITY'] = 'avx2'",
        ),
    ],
    ids=["before torch", "after torch"],
)
def test_instructions_lowered_after_the_load_miss_and_are_right(
    steps: tuple[str, ...], replica: Machine, tmp_path: Path
):
    # Whether threads are in the keys is read when Inductor is imported.
    threads = {"TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1"}
    run = replica.python(program(*steps, "serve()"), cwd=tmp_path, env=threads)
    assert said(run, "loaded") == ["SUCCESS"]
    assert said(run, "hits") == ["0"]
    assert said(run, "wrong values") == ["0"]


def test_compiling_before_the_load_is_said_and_what_comes_after_is_shared(
    machine: Machine, tmp_path: Path
):
    machine.variables["B10FS_CACHE_DIR"] = str(tmp_path / "store")
    machine.variables["TORCHINDUCTOR_CPP_DYNAMIC_THREADS"] = "1"
    late = machine.python(program("serve()", "load()", "serve(500)", "save()"), cwd=tmp_path)
    assert said(late, "wrong values") == ["0", "0"]
    assert said(late, "saved") == ["SUCCESS"]
    late.line(r"^WARNING compile cache: load_compile_cache\(\): this process compiled before it")
    machine.start_over()
    next_one = machine.python(program("load()", "serve(500)", "save()"), cwd=tmp_path)
    assert said(next_one, "loaded") == ["SUCCESS"]
    assert said(next_one, "hits") == ["1"]
    assert said(next_one, "wrong values") == ["0"]
