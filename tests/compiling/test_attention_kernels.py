"""Code that was compiled for other attention kernels is never a hit."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

from pytest_compilecache.compiling import private  # noqa: E402
from pytest_compilecache.compiling.events import EventSink  # noqa: E402
from pytest_compilecache.compiling.protection import Protection  # noqa: E402
from pytest_compilecache.imports import ImportWatch  # noqa: E402
from pytest_compilecache.workspace.place import Workspace  # noqa: E402


class Details:
    """What torch makes a cache key of."""

    def __init__(self) -> None:
        self.cache_key_tag = "users"


def test_keys_name_the_kernels_that_a_test_forbids(tmp_path, monkeypatch):
    codecache = SimpleNamespace(FxGraphHashDetails=Details)
    monkeypatch.setitem(sys.modules, private.CODECACHE, codecache)
    monkeypatch.setattr(private, "probe_isa", lambda: None)  # it would build its probes
    monkeypatch.setattr(private, "picked_isa", lambda: "avx2")
    workspace = Workspace(tmp_path, tmp_path / "inductor", tmp_path / "headers")
    (tmp_path / "state").mkdir()
    protection = Protection(workspace, EventSink())
    protection.attach(ImportWatch(), lambda callback: callback)
    try:
        plain = Details().cache_key_tag
        with sdpa_kernel(SDPBackend.MATH):
            math = Details().cache_key_tag
        with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
            both = Details().cache_key_tag
        assert Details().cache_key_tag == plain
    finally:
        protection.undo()
    assert len({plain, math, both}) == 3
    assert "without" not in plain
    assert Details().cache_key_tag == "users"
