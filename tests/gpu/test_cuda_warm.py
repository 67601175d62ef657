"""On CUDA: Triton kernels and autotune results that were restored are not compiled again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.machine import Machine, write_project

pytestmark = pytest.mark.gpu

# Counts the kernels that Triton really compiles, in this process and in
# Inductor's compile workers, which are turned off here so that none escapes.
CONFTEST = """
    import os

    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    compiled = []

    def pytest_sessionstart():
        import triton

        original = triton.compiler.compiler.make_backend

        def counting(target):
            backend = original(target)
            add_stages = backend.add_stages

            def noting(stages, *args, **kwargs):
                result = add_stages(stages, *args, **kwargs)
                first = next(iter(stages))
                stage = stages[first]

                def run(*stage_args, **stage_kwargs):
                    compiled.append(first)
                    return stage(*stage_args, **stage_kwargs)

                stages[first] = run
                return result

            backend.add_stages = noting
            return backend

        triton.compiler.compiler.make_backend = counting

    def pytest_sessionfinish():
        print(f"\\ntriton compiled {len(compiled)} kernels")
"""

TESTS = """
    import pytest
    import torch

    def f(x, w):
        return torch.nn.functional.gelu(x @ w).softmax(-1) + x.sum(-1, keepdim=True)

    @pytest.mark.parametrize("mode", [None, "reduce-overhead", "max-autotune"])
    def test_values(mode, compile_model):
        torch.manual_seed(0)
        x, w = (torch.randn(256, 256, device="cuda") for _ in range(2))
        compiled = compile_model(f, mode=mode)
        for _ in range(3):
            torch.testing.assert_close(compiled(x, w).clone(), f(x, w), rtol=2e-2, atol=2e-2)

    def test_gradients(compile_model):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU()).cuda()
        x = torch.randn(8, 64, device="cuda")
        compile_model(model)(x).sum().backward()
        got = [one.grad.clone() for one in model.parameters()]
        model.zero_grad()
        model(x).sum().backward()
        for mine, eager in zip(got, model.parameters()):
            torch.testing.assert_close(mine, eager.grad, rtol=1e-3, atol=1e-3)
"""


def compiled(out: str) -> int:
    found = re.search(r"triton compiled (\d+) kernels", out)
    assert found is not None, out
    return int(found[1])


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_restored_to_a_new_home_triton_compiles_nothing(
    arguments: tuple[str, ...], machine: Machine, tmp_path: Path
):
    project = write_project(tmp_path / "project", conftest=CONFTEST, test_cuda=TESTS)
    store = f"--compilecache-store={tmp_path / 'store'}"
    cold = machine.pytest("-s", store, cwd=project)
    assert cold.code == 0, cold.out
    assert compiled(cold.out) >= 4
    machine.start_over()
    warm = machine.pytest("-s", store, *arguments, cwd=project)
    assert warm.code == 0, warm.out
    if not arguments:  # workers print nothing
        assert compiled(warm.out) == 0
    assert warm.built == ()
    warm.line(r"compilecache: warm: 4 compiled tests")
