"""Where torch keeps its artifacts."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.names import AUTOGRAD_CACHE, CODECACHE, loaded

GUARDED = "guarded"
CACHES = ((CODECACHE, "FxGraphCache"), (AUTOGRAD_CACHE, "AOTAutogradCache"))


def redirect_headers(patches: Patches, directory: Path) -> None:
    """Let torch keep precompiled headers in the directory (torch 2.8 and later)."""
    module = sys.modules.get(CODECACHE)
    if module is None or not hasattr(module, "_HEADER_DIR"):
        return
    for name, folder in (("_HEADER_DIR", directory), ("_HEADER_LOCK_DIR", directory / "locks")):
        if hasattr(module, name):
            patches.set(module, name, str(folder))


def artifact_folders() -> list[str]:
    """The folders that torch builds into at this moment."""
    headers = loaded(CODECACHE, "_HEADER_DIR")
    return [folder for folder in (os.environ.get("TORCHINDUCTOR_CACHE_DIR"), headers) if folder]


def keep_entries_apart(
    patches: Patches, module: str, class_name: str, folder: Callable[[], str]
) -> None:
    """Let this process keep a cache's entries in a folder of their own.

    Processes that we are not in, such as a test's own subprocess, use the same
    directory without our keys: what they leave must not be found here.

    Args:
        patches: Undoes it.
        module: The module of the cache.
        class_name: The cache.
        folder: Names the folder, at each use.
    """
    cache = loaded(module, class_name)

    def make(original: Any) -> Any:
        find = original.__get__(None, cache)  # a static method, or one of the class

        def apart() -> str:
            place = Path(find())
            return str(place.parent / folder() / place.name)

        return staticmethod(apart)

    patches.wrap(cache, "_get_tmp_dir", make)


def clear_inductor_memory() -> None:
    """Forget what Inductor holds in memory of the directory it used so far."""
    clear = loaded("torch._inductor.utils", "clear_caches")
    if clear is not None:
        clear()
