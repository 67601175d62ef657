"""Layouts, attention kernels and IPEX: what changes, and what must not."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache import CompileOptions
from pytest_compilecache.compiling.preparing import calls_under, compile_prepared
from pytest_compilecache.errors import CompileOptionError, CompileOptionWarning

torch = pytest.importorskip("torch")
nn = torch.nn
LAST = {"memory_format": torch.channels_last}


class Seeing:
    """A backend that runs graphs as they are; it remembers them and the layout of what came."""

    def __init__(self) -> None:
        self.graphs: list[Any] = []
        self.images: list[Any] = []

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs.append(graph)
        self.images += [one for one in inputs if isinstance(one, torch.Tensor) and one.dim() == 4]
        return graph.forward

    def compile_one(self, target: Any) -> Any:
        return torch.compile(target, backend=self)


@pytest.fixture
def backend() -> Iterator[Seeing]:
    torch._dynamo.reset()
    yield Seeing()
    torch._dynamo.reset()


@pytest.fixture
def conv() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(1))


def attention(q: Any, k: Any, v: Any) -> Any:
    return nn.functional.scaled_dot_product_attention(q, k, v)


def kernels_in_force() -> set[str]:
    names = ("math", "flash", "mem_efficient", "cudnn")
    return {name for name in names if getattr(torch.backends.cuda, f"{name}_sdp_enabled")()}


def test_nothing_asked_for_changes_nothing(backend: Seeing, conv: Any):
    compiled = compile_prepared(conv, CompileOptions(), backend.compile_one)
    assert type(compiled) is type(backend.compile_one(conv))
    assert conv[0].weight.is_contiguous()


def test_channels_last_reaches_the_compiler_and_keeps_the_values(backend: Seeing, conv: Any):
    x = torch.randn(2, 3, 9, 9)
    expected = conv(x)
    compiled = compile_prepared(conv, CompileOptions(channels_last=True), backend.compile_one)
    torch.testing.assert_close(compiled(x), expected)
    assert {tuple(one.shape) for one in backend.images} == {(2, 3, 9, 9), (8, 3, 3, 3)}
    assert all(one.is_contiguous(**LAST) for one in backend.images)
    torch.testing.assert_close(conv(x), expected)
    assert x.is_contiguous()


def test_channels_last_converts_keyword_arguments_and_leaves_other_ranks(backend: Seeing):
    class Masked(nn.Conv2d):
        def forward(self, image: Any, mask: Any) -> Any:
            return super().forward(image) * mask

    compiled = compile_prepared(
        Masked(3, 8, 3), CompileOptions(channels_last=True), backend.compile_one
    )
    assert compiled(mask=torch.ones(7, 7), image=torch.randn(2, 3, 9, 9)).shape == (2, 8, 7, 7)
    assert all(one.is_contiguous(**LAST) for one in backend.images)


def test_volumes_are_laid_channels_last_as_well(backend: Seeing):
    model = nn.Conv3d(2, 4, 3)
    compiled = compile_prepared(model, CompileOptions(channels_last=True), backend.compile_one)
    assert compiled(torch.randn(1, 2, 5, 5, 5)).shape == (1, 4, 3, 3, 3)
    assert model.weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_channels_last_trains_the_parameters_that_the_optimizer_holds(backend: Seeing, conv: Any):
    optimizer = torch.optim.SGD(conv.parameters(), lr=0.1)
    before = conv[0].weight.detach().clone()
    compiled = compile_prepared(conv, CompileOptions(channels_last=True), backend.compile_one)
    compiled(torch.randn(2, 3, 9, 9)).sum().backward()
    optimizer.step()
    assert not torch.equal(conv[0].weight, before)


def test_channels_last_without_convolutions_is_told_and_does_nothing(backend: Seeing):
    with pytest.warns(CompileOptionWarning, match="no 2-d or 3-d convolution"):
        compile_prepared(nn.Linear(2, 2), CompileOptions(channels_last=True), backend.compile_one)


@pytest.mark.parametrize("name", ["regional", "channels_last", "ipex"])
def test_what_needs_a_model_refuses_a_function(backend: Seeing, name: str):
    with pytest.raises(CompileOptionError, match=rf"^{name}: attention is no torch.nn.Module"):
        compile_prepared(attention, CompileOptions(**{name: True}), backend.compile_one)


@pytest.mark.parametrize(
    ("asked", "in_force"),
    [
        ("math", {"math"}),
        (("math", "flash"), {"math", "flash"}),
        (("efficient", "cudnn"), {"mem_efficient", "cudnn"}),
    ],
)
def test_chosen_attention_kernels_are_in_force_for_a_call_and_no_longer(
    asked: Any, in_force: set[str]
):
    before = kernels_in_force()
    seen = []
    call = compile_prepared(
        lambda: seen.append(kernels_in_force()), CompileOptions(sdpa=asked), lambda target: target
    )
    call()
    assert seen == [in_force]
    assert kernels_in_force() == before


def test_failing_call_gives_the_attention_kernels_back():
    before = kernels_in_force(), torch.compiler.config.cache_key_tag
    call = compile_prepared(lambda: 1 / 0, CompileOptions(sdpa="math"), lambda target: target)
    with pytest.raises(ZeroDivisionError):
        call()
    assert (kernels_in_force(), torch.compiler.config.cache_key_tag) == before


def test_tag_of_the_users_own_stays_in_the_keys():
    config = torch.compiler.config
    with config.patch(cache_key_tag="theirs"):
        with calls_under(CompileOptions(sdpa="math"))():
            assert config.cache_key_tag == "theirs+sdpa=math"
        assert config.cache_key_tag == "theirs"


def test_model_with_chosen_kernels_passes_for_the_original(backend: Seeing):
    model = nn.MultiheadAttention(8, 2, batch_first=True)
    compiled = compile_prepared(model, CompileOptions(sdpa="math"), backend.compile_one)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(compiled(x, x, x), model(x, x, x))
    assert isinstance(compiled, nn.Module)
    assert compiled.embed_dim == 8
    assert compiled.eval().training is False


def test_switched_off_is_eager_under_the_same_kernels_and_leaves_the_model_alone(backend: Seeing):
    seen = []

    class Asking(nn.Linear):
        def forward(self, x: Any) -> Any:
            seen.append(kernels_in_force())
            return super().forward(x)

    model, options = Asking(2, 2), CompileOptions(enabled=False, sdpa="math")
    x = torch.randn(1, 2)
    torch.testing.assert_close(compile_prepared(model, options, backend.compile_one)(x), model(x))
    assert seen[0] == {"math"}
    assert seen[1] != {"math"}
    assert not backend.graphs


def test_missing_ipex_is_told_by_its_package_and_torch_compile_takes_over(
    backend: Seeing, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "intel_extension_for_pytorch", None)
    model, x = nn.Linear(2, 2), torch.randn(1, 2)
    with pytest.warns(CompileOptionWarning, match="install intel-extension-for-pytorch"):
        compiled = compile_prepared(model, CompileOptions(ipex=True), backend.compile_one)
    torch.testing.assert_close(compiled(x), model(x))
    assert len(backend.graphs) == 1


def test_ipex_takes_the_place_of_torch_compile_and_leaves_the_model_alone(
    backend: Seeing, conv: Any
):
    pytest.importorskip("intel_extension_for_pytorch")
    model, x = conv.eval(), torch.randn(2, 3, 9, 9)
    expected = model(x)
    optimized = compile_prepared(model, CompileOptions(ipex=True), backend.compile_one)
    torch.testing.assert_close(optimized(x), expected)
    assert not backend.graphs
    assert model[0].weight.is_contiguous()
    with pytest.raises(CompileOptionError, match="training mode"):
        compile_prepared(model.train(), CompileOptions(ipex=True), backend.compile_one)


SCRIPT = """
import torch
from pytest_compilecache import CompileOptions
from pytest_compilecache.compiling.preparing import compile_prepared
from torch._dynamo.utils import counters

def attention(q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)

x = [torch.randn(1, 2, 16, 8) for _ in range(3)]
for kernels in ("math", "flash", None, "math"):
    torch._dynamo.reset()
    counters.clear()
    compiled = compile_prepared(attention, CompileOptions(sdpa=kernels), torch.compile)
    torch.testing.assert_close(compiled(*x), attention(*x))
    found = counters["aot_autograd"]["autograd_cache_hit"]
    print(kernels, "found" if found else "compiled")
"""


def test_code_for_other_attention_kernels_is_never_found_on_disk(tmp_path: Path):
    """Torch's own keys do not know of the choice: without ours, all but the first are found."""
    environ = {
        **os.environ,
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
    }
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told == ["math compiled", "flash compiled", "None compiled", "math found"]


def test_copy_of_a_model_that_runs_under_options_runs_its_own_weights(conv: Any):
    with pytest.warns(CompileOptionWarning, match="no repeated blocks"):
        compiled = compile_prepared(
            conv, CompileOptions(channels_last=True, regional=True), lambda target: target
        )
    copied = copy.deepcopy(compiled)
    image = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        copied[0].weight.zero_()
        copied[0].bias.zero_()
    assert copied(image).abs().max() < 1e-3 < conv(image).abs().max()
