"""Where torch keeps its artifacts, and under which keys."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_compilecache.compiling.private._names import CODECACHE, Undo, loaded, nothing

GUARDED = "guarded"


def redirect_headers(directory: Path) -> Undo:
    """Let torch keep precompiled headers in the directory (torch 2.8 and later)."""
    module = sys.modules.get(CODECACHE)
    if module is None or not hasattr(module, "_HEADER_DIR"):
        return nothing
    names = {"_HEADER_DIR": directory, "_HEADER_LOCK_DIR": directory / "locks"}
    before = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for name in before:
        setattr(module, name, str(names[name]))

    def undo() -> None:
        for name, value in before.items():
            setattr(module, name, value)

    return undo


def artifact_folders() -> list[str]:
    """The folders that torch builds into at this moment."""
    headers = loaded(CODECACHE, "_HEADER_DIR")
    return [folder for folder in (os.environ.get("TORCHINDUCTOR_CACHE_DIR"), headers) if folder]


def keep_entries_apart(module: str, class_name: str) -> Undo:
    """Let this process keep a cache's entries in a folder of their own.

    Processes that we are not in, such as a test's own subprocess, use the same
    directory without our protection: what they leave must not be found here.
    """
    cache = loaded(module, class_name)
    original = getattr(cache, "_get_tmp_dir", None)
    if original is None:
        return nothing
    kept = vars(cache)["_get_tmp_dir"]

    def apart() -> str:
        place = Path(original())
        return str(place.parent / GUARDED / place.name)

    cache._get_tmp_dir = staticmethod(apart)  # noqa: SLF001

    def undo() -> None:
        cache._get_tmp_dir = kept  # noqa: SLF001

    return undo


def clear_inductor_memory() -> None:
    """Forget what Inductor holds in memory of the directory it used so far."""
    clear = loaded("torch._inductor.utils", "clear_caches")
    if clear is not None:
        clear()


def tag_cache_keys(tag: Callable[[], str]) -> Undo | None:
    """Let every FX and AOTAutograd cache key contain the tag.

    ``torch.compiler.config.cache_key_tag`` would do it publicly, but a test that
    patches that setting would drop the protection, and torch before 2.9 lacks it.

    Returns:
        How to undo it, or None where this torch offers no place for it.
    """
    details = loaded(CODECACHE, "FxGraphHashDetails")
    if details is None:
        return None
    original = details.__init__

    @functools.wraps(original)
    def tagged(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.cache_key_tag = f"{getattr(self, 'cache_key_tag', '')}{tag()}"

    details.__init__ = tagged

    def undo() -> None:
        details.__init__ = original

    return undo


def attention_tag() -> str:
    """The part of a cache key that names the attention kernels that a test forbids, or empty.

    Torch's own keys lack them (seen in 2.7 to 2.15): code that was compiled for other
    kernels, within ``sdpa_kernel``, is a hit, in the next session as well.
    """
    cuda = sys.modules.get("torch.backends.cuda")
    kinds = ("flash", "mem_efficient", "math", "cudnn")
    answers = {kind: getattr(cuda, f"{kind}_sdp_enabled", None) for kind in kinds}
    forbidden = [kind for kind, enabled in answers.items() if enabled and not enabled()]
    return f"+without={','.join(forbidden)}" if forbidden else ""
