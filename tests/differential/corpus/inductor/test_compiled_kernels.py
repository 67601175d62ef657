"""Plain uses of Inductor: kernels, gradients, custom ops, modes."""

import torch


@torch.library.custom_op("differential::tripled", mutates_args=())
def tripled(x: torch.Tensor) -> torch.Tensor:
    return x * 3


@tripled.register_fake
def _(x):
    return torch.empty_like(x)


def test_kernel():
    x = torch.linspace(0, 1, 20)
    torch.testing.assert_close(torch.compile(lambda x: x.sin() + x.cos())(x), x.sin() + x.cos())


def test_gradient():
    x = torch.ones(6, requires_grad=True)
    torch.compile(lambda x: x.sin() * 3)(x).sum().backward()
    torch.testing.assert_close(x.grad, x.detach().cos() * 3)


def test_custom_op():
    got = torch.compile(lambda x: tripled(x) + 1, fullgraph=True)(torch.ones(3))
    assert got.tolist() == [4, 4, 4]


def test_reduction_by_threads():
    x = torch.ones(64, 64)
    assert torch.compile(lambda x: (x * 2).sum())(x).item() == 8192


def test_artifacts_can_be_saved():
    saved = torch.compiler.save_cache_artifacts()
    assert saved is None or isinstance(saved[0], bytes)


def test_inductor_takes_its_own_inner_compiler(monkeypatch):
    from torch._inductor import compile_fx

    seen = []
    original = compile_fx._InProcessFxCompile.codegen_and_compile

    def spied(self, *args, **kwargs):
        seen.append(type(self).__name__)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(compile_fx._InProcessFxCompile, "codegen_and_compile", spied)
    with torch._inductor.config.patch(force_disable_caches=True):
        torch.compile(lambda x: x.sin() + 17)(torch.ones(3))
    assert seen == ["_InProcessFxCompile"]
