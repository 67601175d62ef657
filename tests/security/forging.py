"""Packs written without the code under test, so that they can say anything."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import zstandard

from tests.security.scene import ENVIRONMENT


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def squeeze(content: bytes, **parameters: Any) -> bytes:
    return zstandard.ZstdCompressor(**parameters).compress(content)


@dataclass(slots=True)
class Forgery:
    """The parts of a pack; what is not given is what the others call for.

    Attributes:
        index: The index, as what becomes JSON, as JSON, or None for the stored bytes below.
        frames: The stored frames.
        stored: The index as stored.
        footer: Lengths and versions that the footer states in place of the right ones.
        before: Bytes before the header.
        after: Bytes behind the footer.
    """

    index: Any = None
    frames: list[bytes] = field(default_factory=list)
    stored: bytes | None = None
    footer: dict[str, int] = field(default_factory=dict)
    before: bytes = b""
    after: bytes = b""

    def text(self) -> bytes:
        """The JSON."""
        if isinstance(self.index, bytes):
            return self.index
        return json.dumps(self.index).encode()

    def build(self) -> tuple[bytes, str]:
        """The pack, and the name that belongs to its index."""
        text = self.text()
        stored = squeeze(text) if self.stored is None else self.stored
        says = {"stored": len(stored), "size": len(text), "signature": 0, "version": 1}
        footer = struct.pack("<4I", *({**says, **self.footer}).values())
        header = b"\x89CCPACK\n" + struct.pack("<I", 1)
        body = header + b"".join(self.frames) + stored + footer + b"CCPACK\n\x89"
        return self.before + body + self.after, digest(stored)


CONTENTS = (bytes(range(40, 140)), bytes(reversed(range(60, 120))))
FILES = {
    "headers/empty": b"",
    "inductor/a/ca.main.cpp": CONTENTS[0][:30],
    "inductor/b/cb.main.cpp": CONTENTS[0][30:] + CONTENTS[1][:20],
    "headers/c.h": CONTENTS[1][20:50],
}


def valid() -> Forgery:
    """A pack without fault: two frames, an empty file, and one that spans both frames."""
    frames = [squeeze(content) for content in CONTENTS]
    places = ((0, 0), (0, 0), (0, 30), (1, 20))
    modes = (0o600, 0o600, 0o700, 0o600)
    index = {
        "created": 1.5,
        "environment": ENVIRONMENT.id,
        "files": [
            [path, len(content), mode, digest(content), *place]
            for (path, content), mode, place in zip(FILES.items(), modes, places, strict=True)
        ],
        "frames": [
            [len(frame), len(content), digest(frame)]
            for frame, content in zip(frames, CONTENTS, strict=True)
        ],
        "supersedes": [],
    }
    return Forgery(index, frames)
