"""Restores and saves in a process of their own, told as JSON: what they did, time, memory.

Usage: python one_operation.py save|restore ROOT STORE
       python one_operation.py grow ROOT STORE TREE SAVES
       python one_operation.py idle MODULE...
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

ENVIRONMENT = {"torch": "2.13.0", "python": "3.11", "machine": "benchmark"}


def folders(root: Path) -> tuple[Path, Path, Path]:
    """The root of a workspace, and in its ``tree`` what travels: Inductor's folder, headers."""
    return root, root / "tree" / "inductor", root / "tree" / "headers"


def operate(action: str, root: Path, store: str) -> dict[str, Any]:
    """Restore or save, timed without the start of the process; a save with eviction's look."""
    from pytest_compilecache import cache  # noqa: PLC0415  (the idle ones skip it)
    from pytest_compilecache.environment import Environment  # noqa: PLC0415
    from pytest_compilecache.limits import Limits  # noqa: PLC0415
    from pytest_compilecache.workspace.evict import evict  # noqa: PLC0415
    from pytest_compilecache.workspace.place import Workspace  # noqa: PLC0415

    act = {"restore": cache.restore, "save": cache.save}[action]
    environment, workspace = Environment(ENVIRONMENT), Workspace(*folders(root))
    started = time.perf_counter()
    result = act(workspace, environment, store)
    if action == "save":
        evict(workspace, Limits(workspace_bytes=10 << 30), at_most=result.workspace_bytes)
    seconds = time.perf_counter() - started
    return {**result.to_mapping(), "seconds": seconds, "modules": sorted(sys.modules)}


def grow(root: Path, store: str, tree: Path, count: int) -> dict[str, Any]:
    """Save a workspace that gets its share of the tree before each of many saves."""
    files = sorted(each for each in tree.rglob("*") if each.is_file())
    seconds = []
    for number in range(count):
        for location in files[number::count]:
            target = root / "tree" / location.relative_to(tree)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.link(location, target)
        if not number:
            root.joinpath("state").mkdir(mode=0o700)
        found = operate("save", root, store)
        if found["status"] != "success":
            sys.exit(f"save {number} of {count}: {found['status']}, {found['troubles']}")
        seconds.append(found["seconds"])
    return {"seconds": seconds}


def idle(modules: list[str]) -> dict[str, Any]:
    """What a process takes that has imported the same and done nothing."""
    for name in modules:
        with contextlib.suppress(ImportError):  # parts of packages that say other names
            importlib.import_module(name)
    return {}


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    with contextlib.suppress(OSError):
        # Not getrusage where there is better: Linux lets a child begin with
        # what its parent had, and a small child of a large parent shows nothing.
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Do as the arguments say."""
    action, *rest = sys.argv[1:]
    if action == "idle":
        found = idle(rest)
    elif action == "grow":
        found = grow(Path(rest[0]), rest[1], Path(rest[2]), int(rest[3]))
    else:
        found = operate(action, Path(rest[0]), rest[1])
    print(json.dumps({**found, "peak": peak_bytes()}, default=str))


if __name__ == "__main__":
    main()
