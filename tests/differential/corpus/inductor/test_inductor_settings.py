import torch
from torch._inductor import config


def gelu(x):
    return torch.nn.functional.gelu(x) + 1


def test_patch():
    with config.patch({"max_autotune": False, "cpp.simdlen": 0}):
        torch.testing.assert_close(torch.compile(gelu)(torch.ones(9)), gelu(torch.ones(9)))
    assert config.cpp.simdlen is None


@config.patch(fx_graph_cache=False)
def test_patch_as_a_decorator():
    assert not config.fx_graph_cache
    torch.compile(lambda x: gelu(x) + 2)(torch.ones(9))


def test_options():
    torch.compile(gelu, options={"epilogue_fusion": False})(torch.ones(11))


def test_saved_settings():
    before = config.save_config()
    with config.patch(size_asserts=False):
        assert config.save_config() != before
    assert config.save_config() == before


def test_settings_are_torchs():
    assert config.fx_graph_cache
    assert not config.force_disable_caches
    assert torch._functorch.config.enable_autograd_cache
    assert not torch._functorch.config.strict_autograd_cache
