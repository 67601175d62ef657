"""A test deletes the folder that torch keeps its cache in; another compiles afterwards."""

import shutil

import torch
from torch._inductor.runtime.cache_dir_utils import cache_dir


def test_compiles():
    torch.compile(lambda x: x.sin() + 71)(torch.ones(3))


def test_deletes_the_folder():
    shutil.rmtree(cache_dir())


def test_compiles_another_function():
    torch.compile(lambda x: x.sin() + 72)(torch.ones(3))


def test_compiles_the_same_function():
    torch._dynamo.reset()
    torch.compile(lambda x: x.sin() + 71)(torch.ones(3))


def test_clears_by_torchs_own_call():
    from torch._inductor.codecache import FxGraphCache

    FxGraphCache.clear()
    torch._dynamo.reset()
    torch.compile(lambda x: x.sin() + 72)(torch.ones(3))
