"""What torch's keys leave out is in them: vector instructions and forbidden attention kernels."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch._inductor.codecache import FxGraphHashDetails
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_compilecache.compiling.hooks import HOOKS, KeyUser


def on(device: str) -> tuple[Any, list[Any]]:
    """A graph and its inputs, as Inductor gets them, on a device that need not be there."""
    with FakeTensorMode():
        x = torch.empty(3, device=device)
        return make_fx(lambda x: x.sin() + 1)(x), [x]


def tag(device: str = "cpu") -> str:
    return str(FxGraphHashDetails(*on(device), {}, []).cache_key_tag)


@contextlib.contextmanager
def protected(part: Any, failed: Any = None) -> Iterator[None]:
    leave = HOOKS.protect_keys(KeyUser(part, "guarded", failed or (lambda *_: None)))
    try:
        yield
    finally:
        leave()


def test_key_names_the_instructions_once_however_many_sessions_there_are():
    before = tag()
    with protected(lambda: "+isa=avx512"), protected(lambda: "+isa=avx2"):
        assert tag() == f"{before}+isa=avx2"
    assert tag() == before


def test_key_names_the_attention_kernels_that_a_test_forbids():
    with protected(lambda: "+isa=avx2"):
        plain = tag()
        with sdpa_kernel(SDPBackend.MATH):
            math = tag()
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            both = tag()
        assert tag() == plain
    assert "without" not in plain
    assert len({plain, math, both}) == 3
    assert math.startswith(f"{plain}+without=")


@pytest.mark.parametrize("device", ["cuda", "meta"])
def test_graph_without_code_for_the_cpu_asks_for_no_instructions(device: str):
    asked: list[str] = []

    def part() -> str:
        asked.append(device)
        return "+isa=avx2"

    before = tag(device)
    with protected(part):
        assert tag(device) == before
        assert asked == []
        assert tag("cpu") == f"{before}+isa=avx2"


def test_graph_whose_inputs_are_elsewhere_and_that_makes_a_tensor_on_the_cpu_has_code_for_it():
    def made_here(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.sin(), torch.arange(3, device="cpu") + 1

    with FakeTensorMode():
        x = torch.empty(3, device="cuda")
        graph = make_fx(made_here)(x)
    with protected(lambda: "+isa=avx2"):
        assert "+isa=avx2" in FxGraphHashDetails(graph, [x], {}, []).cache_key_tag


def test_part_that_cannot_be_given_makes_a_key_that_no_other_equals_and_is_reported_once():
    failures: list[str] = []

    def part() -> str:
        raise OSError("the disk is full")

    with protected(part, lambda hook, error: failures.append(f"{hook}: {error}")):
        first = tag()
        # Everything is off now: keys are torch's own, in torch's own folder.
        assert tag() == tag()
    assert "+unknown=" in first
    assert failures == ["a cache key: the disk is full"]


NO_COMPILER = """
import torch
from torch._inductor.codecache import FxGraphHashDetails
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from pytest_compilecache import load_compile_cache

load_compile_cache()
with FakeTensorMode():
    x = torch.empty(3, device="cuda")
    graph = make_fx(lambda x: x.sin() + 1)(x)
print("TAG", repr(FxGraphHashDetails(graph, [x], {}, []).cache_key_tag))
"""


def test_server_whose_graphs_are_a_gpus_needs_no_cpp_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent")
    monkeypatch.setenv("LOCAL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("B10FS_CACHE_DIR", str(tmp_path / "store"))
    run = subprocess.run(
        [sys.executable, "-c", NO_COMPILER], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "TAG ''" in run.stdout, run.stderr
