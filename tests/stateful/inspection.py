"""What a store holds, read by the grammar alone and not by the code that is under test."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import zstandard

_HEADER = struct.pack("<8sI", b"\x89CCPACK\n", 1)
_FOOTER = struct.Struct("<4I8s")
_PACK = re.compile(r"v1/([^/]+)/packs/([0-9a-f]{64})\.pack")


@dataclass(frozen=True)
class Content:
    """What is in a pack.

    Attributes:
        readable: Whether the index is the one that the pack is named after, of this environment.
        whole: Whether every byte is as it was published.
        paths: What the index lists.
        files: The content of the files whose frames are whole.
        supersedes: The packs that it took over.
    """

    readable: bool = False
    whole: bool = False
    paths: frozenset[str] = frozenset()
    files: tuple[tuple[str, bytes], ...] = ()
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenPack:
    """A pack that is listed."""

    environment: str
    name: str
    location: Path
    size: int
    modified: float
    content: Content

    @property
    def intact(self) -> dict[str, bytes]:
        """The files that can be restored out of it."""
        return dict(self.content.files)


def seen_packs(root: Path) -> list[SeenPack]:
    """All packs of a store, the oldest first."""
    found = []
    for location in root.glob("v1/*/packs/*"):
        match = _PACK.fullmatch(location.relative_to(root).as_posix())
        assert match is not None, f"{location} is no name of a pack"
        status = location.stat()
        content = _content(match[1], match[2], location.read_bytes())
        found.append(
            SeenPack(match[1], match[2], location, status.st_size, status.st_mtime, content)
        )
    return sorted(found, key=lambda pack: (pack.modified, pack.name))


def notes(root: Path) -> set[str]:
    """The packs that somebody noted as damaged."""
    return {location.name for location in root.glob("v1/*/suspect/*")}


def size_of(root: Path) -> int:
    """What a store takes; a file of two names takes it once."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # deleted since the listing
                status = Path(folder, name).lstat()
                found[status.st_ino] = status.st_size
    return sum(found.values())


@functools.lru_cache(maxsize=4096)
def _content(environment: str, name: str, raw: bytes) -> Content:
    stored = _stored_index(raw)
    if stored is None or hashlib.sha256(stored).hexdigest() != name:
        return Content()
    text = zstandard.ZstdDecompressor().decompress(stored)
    index = json.loads(text)
    size = _FOOTER.unpack(raw[-_FOOTER.size :])[1]
    frames = list(_frames(raw, index["frames"]))
    end = len(_HEADER) + sum(stored for stored, _, _ in index["frames"])
    filled = end == len(raw) - _FOOTER.size - len(stored)
    if len(text) != size or not filled or index["environment"] != environment:
        return Content()
    return Content(
        readable=True,
        whole=None not in frames,
        paths=frozenset(path for path, *_ in index["files"]),
        files=tuple(_files(index, frames)),
        supersedes=tuple(index["supersedes"]),
    )


def _stored_index(raw: bytes) -> bytes | None:
    if len(raw) < len(_HEADER) + _FOOTER.size or not raw.startswith(_HEADER):
        return None
    length, _, signature, version, tail = _FOOTER.unpack(raw[-_FOOTER.size :])
    if (signature, version, tail) != (0, 1, b"CCPACK\n\x89"):
        return None
    end = len(raw) - _FOOTER.size
    return raw[end - length : end] if length <= end - len(_HEADER) else None


def _frames(raw: bytes, rows: list[list]) -> Iterator[bytes | None]:
    """The content of each frame, or None for one that is damaged."""
    starts = itertools.accumulate((stored for stored, _, _ in rows), initial=len(_HEADER))
    for start, (length, _, digest) in zip(starts, rows, strict=False):
        stored = raw[start : start + length]
        good = hashlib.sha256(stored).hexdigest() == digest
        yield zstandard.ZstdDecompressor().decompress(stored) if good else None


def _files(index: dict, frames: list[bytes | None]) -> Iterator[tuple[str, bytes]]:
    for path, size, _, digest, number, offset in index["files"]:
        content, first = b"", offset
        for frame in frames[number:]:
            if frame is None or len(content) == size:
                break
            content += frame[first : first + size - len(content)]
            first = 0
        if len(content) == size:
            assert hashlib.sha256(content).hexdigest() == digest, path
            yield path, content
