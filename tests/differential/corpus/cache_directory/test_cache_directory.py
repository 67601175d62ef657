"""A conftest that says where torch keeps its cache, before it imports torch."""

import os
import tempfile
from pathlib import Path

import torch

MINE = Path(tempfile.gettempdir()) / "theirs"


def test_variable_is_the_users():
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(MINE)


def test_code_is_written_there():
    torch.compile(lambda x: x.sin() + 61)(torch.ones(3))
    assert list(MINE.rglob("*.so"))
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(MINE)


def test_torch_says_so():
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    assert cache_dir() == str(MINE)


def test_child_has_it():
    assert os.popen("echo $TORCHINDUCTOR_CACHE_DIR").read().strip() == str(MINE)
