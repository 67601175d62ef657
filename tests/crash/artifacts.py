"""Artifacts whose content follows from their path: a file can be judged wherever it turns up.

None of them is torn by the rules of the package, which would move it to quarantine.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_compilecache.workspace.place import STAMP, Workspace

_KINDS = (
    "inductor/{0}b/c{0}{1}.py",
    "inductor/{0}b/c{0}{1}.main.cpp",
    "inductor/guarded/fxgraph/{0}b/f{0}{1}/entry",
    "inductor/{0}b/c{0}{1}.mark",
    "headers/h{0}{1}.h.gch",
)
_LARGE = "inductor/{0}b/large{0}{1}.cpp"
_SIZES = (40, 3_000, 90_000)
_LARGE_SIZE = 5 << 20  # more than one frame of a pack


def names(maker: str, count: int, *, first: int = 0, large: int = 0) -> list[str]:
    """Paths of artifacts that one machine makes."""
    small = [
        _KINDS[number % len(_KINDS)].format(maker, number) for number in range(first, first + count)
    ]
    return small + [_LARGE.format(maker, number) for number in range(first, first + large)]


@functools.lru_cache(maxsize=512)
def content_of(path: str) -> bytes:
    """What the artifact of this path holds, always."""
    dice = random.Random(path)
    name = path.rpartition("/")[2]
    size = _LARGE_SIZE if name.startswith("large") else dice.choice(_SIZES)
    noise = dice.randbytes(size)
    if name.endswith(".mark"):
        return b""
    if name.endswith(".py"):
        return b"# " + noise.hex().encode() + b"\n"
    if name.endswith(".gch"):
        return b"gpch" + noise
    return b"\x80\x04" + noise + b"." if name == "entry" else noise


def put(workspace: Workspace, paths: Iterable[str]) -> set[str]:
    """Write artifacts to a workspace."""
    areas = dict(workspace.areas())
    written = set(paths)
    for path in sorted(written):
        area, _, below = path.partition("/")
        location = areas[area] / below
        location.parent.mkdir(parents=True, exist_ok=True)
        location.write_bytes(content_of(path))
    return written


def present(workspace: Workspace) -> set[str]:
    """The paths of the files that torch could open."""
    return {path for path, _ in _files(workspace)}


def wrong(workspace: Workspace) -> list[str]:
    """The paths of the files that torch could open and that do not hold what they should."""
    return [
        path for path, location in _files(workspace) if location.read_bytes() != content_of(path)
    ]


def _files(workspace: Workspace) -> Iterator[tuple[str, Path]]:
    for area, folder in workspace.areas():
        for location in sorted(folder.rglob("*")):
            below = location.relative_to(folder)
            foreign = below.parts[0] == "locks" or location.suffix == ".tmp"
            if location.is_file() and not foreign and str(below) != STAMP:
                yield f"{area}/{below.as_posix()}", location
