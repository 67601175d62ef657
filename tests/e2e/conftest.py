from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.command import Command
from tests.e2e.machine import Machine, Run, write_project

KERNELS = """
    import pytest
    import torch

    def softmax_like(x):
        return (x.exp() / (x.exp().sum(-1, keepdim=True) + 1)).sin()

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.LayerNorm(32)
            self.linear = torch.nn.Linear(32, 32)

        def forward(self, x):
            return torch.nn.functional.gelu(self.linear(self.norm(x))) + x

    @pytest.fixture
    def model():
        torch.manual_seed(0)
        return Block().eval()

    def test_plain_torch_compile():
        x = torch.randn(64, 37)
        torch.testing.assert_close(torch.compile(softmax_like)(x), softmax_like(x))

    @pytest.mark.compiled(fullgraph=True)
    def test_model(compiled_model, model):
        x = torch.randn(8, 32)
        with torch.no_grad():
            torch.testing.assert_close(compiled_model(x), model(x))

    def test_gradients(compile_model, model):
        x = torch.randn(8, 32)
        compile_model(model)(x).sum().backward()
        got = [one.grad.clone() for one in model.parameters()]
        model.zero_grad()
        model(x).sum().backward()
        for mine, eager in zip(got, model.parameters()):
            torch.testing.assert_close(mine, eager.grad)
"""


@dataclass(frozen=True)
class Cold:
    """A project whose first session ran cold, and what it left."""

    project: Path
    store: Path
    run: Run
    home: Path


@pytest.fixture(scope="session", autouse=True)
def compiler_remembers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Build what machines of equal tests ask for once, for all workers together."""
    ours = tmp_path_factory.getbasetemp()
    shared = ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours
    memory = shared / "compiled"
    memory.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHIM_MEMORY", str(memory))
        yield


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    return Machine(tmp_path / "machine")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture(scope="session")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Cold:
    """One cold session that many tests start from; nobody may change what it left."""
    root = tmp_path_factory.mktemp("cold")
    project = write_project(root / "project", test_kernels=KERNELS)
    store = root / "store"
    machine = Machine(root / "machine")
    run = machine.pytest(f"--compilecache-store={store}", cwd=project)
    assert run.code == 0, run.out
    return Cold(project, store, run, machine.home)


@pytest.fixture
def warm_machine(cold: Cold, machine: Machine) -> Machine:
    """A machine on which the project has run before, without a store."""
    machine.home.rmdir()
    shutil.copytree(cold.home, machine.home, symlinks=True)
    # The cold session had a store, for which the plugin sets this.
    machine.variables["TORCHINDUCTOR_CPP_DYNAMIC_THREADS"] = "1"
    return machine


@pytest.fixture
def store(cold: Cold, tmp_path: Path) -> Path:
    """A copy of the store that the cold session left."""
    return Path(shutil.copytree(cold.store, tmp_path / "store"))


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    return lambda **files: write_project(tmp_path / "project", **files)
