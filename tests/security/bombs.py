"""Packs that are small to store and would be immense to hold."""

from __future__ import annotations

import struct
from collections.abc import Callable

import zstandard

from tests.security.forging import Forgery, digest, squeeze, valid

MIB = 1 << 20
GIB = 1 << 30
INDEX_SIZE = 24 * MIB  # the most that an index may say of itself
FRAME_SIZE = 4 * MIB


def zeros(size: int, *, declared: bool) -> bytes:
    """A zstd frame of that many zeros, made without holding them."""
    compressor = zstandard.ZstdCompressor(write_content_size=declared)
    making = compressor.compressobj(size=size if declared else -1)
    pieces = [making.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join(pieces) + making.flush()


def lying(size: int, says: int, *, window_log: int = 22) -> bytes:
    """A zstd frame made by hand whose header says one size and whose blocks come to another."""
    header = struct.pack("<IBBI", 0xFD2FB528, 0x80, (window_log - 10) << 3, says)
    block = 128 * 1024
    count = size // block

    def repeated(length: int, *, last: bool) -> bytes:
        return struct.pack("<I", length << 3 | 1 << 1 | last)[:3] + b"\0"

    return header + repeated(block, last=False) * (count - 1) + repeated(block, last=True)


def _index(stored: bytes, *, size: int = INDEX_SIZE) -> Forgery:
    return Forgery(stored=stored, footer={"size": size})


def _text(middle: bytes, before: bytes = b"[", after: bytes = b"0]") -> Forgery:
    """An index that fills its size with one value, where the packs that it supersedes belong."""
    head = b'{"created":1.5,"environment":"e","files":[],"frames":[],"supersedes":'
    room = INDEX_SIZE - len(head) - len(before) - len(after) - 1
    text = head + before + middle * (room // len(middle)) + after + b"}"
    return Forgery(text)


def _most_files() -> Forgery:
    """As many files as an index may list, each of which is empty."""
    row = '["inductor/{0:0>100}",0,384,"{1}",0,0]'
    rows = ",".join(row.format(number, digest(b"")) for number in range(100_000))
    head = '{"created":1.5,"environment":"other","files":['
    return Forgery(f'{head}{rows}],"frames":[],"supersedes":[]}}'.encode())


def _frame(stored: bytes, *, size: int = FRAME_SIZE, count: int = 1) -> Forgery:
    forgery = valid()
    forgery.frames = [stored] * count
    forgery.index["frames"] = [[len(stored), size, digest(stored)]] * count
    path, *_ = forgery.index["files"][1]
    forgery.index["files"] = [[path, size * count, 0o600, digest(b""), 0, 0]]
    return forgery


def _twins() -> Forgery:
    """Two entries of one key, each of 128 MiB, which are compared with one another."""
    forgery = _frame(squeeze(bytes(FRAME_SIZE)), count=64)
    folder = "inductor/guarded/fxgraph/ab/fabkey"
    size = 32 * FRAME_SIZE
    forgery.index["files"] = [
        [f"{folder}/one", size, 0o600, digest(b""), 0, 0],
        [f"{folder}/two", size, 0o600, digest(b""), 32, 0],
    ]
    return forgery


IN_INDEX: dict[str, Callable[[], Forgery]] = {
    "says 1 GiB": lambda: _index(zeros(GIB, declared=True), size=GIB),
    "says 1 GiB, and its footer less": lambda: _index(zeros(GIB, declared=True)),
    "says nothing": lambda: _index(zeros(GIB, declared=False)),
    "says 24 MiB and holds 1 GiB": lambda: _index(lying(GIB, INDEX_SIZE)),
    "wants a window of 2 GiB": lambda: _index(lying(MIB, INDEX_SIZE, window_log=31)),
    "holds 24 MiB of zeros": lambda: _index(zeros(INDEX_SIZE, declared=True)),
    "holds 11 million numbers": lambda: _text(b"10,"),
    "holds 8 million fractions": lambda: _text(b".5e1,".replace(b".5e1", b"1e9")),
    "holds 6 million words": lambda: _text(b'"ab",'),
    "holds one word of 24 MiB": lambda: _text(b"a", b'"', b'"'),
    "holds one word of wide letters": lambda: _text(b"a", b'"\xf0\x9f\x98\x80', b'"'),
    "holds one word of escapes": lambda: _text(b"\\n", b'"', b'"'),
    "holds a number of 24 million digits": lambda: _text(b"9", b"", b""),
    "lists 100,000 files": _most_files,
    "opens 32 million lists": lambda: _text(b"[", b"", b""),
}

# These hold what they say.
HONEST: dict[str, Callable[[], Forgery]] = {
    "256 MiB in one file": lambda: _frame(squeeze(bytes(FRAME_SIZE)), count=64),
    "256 MiB in two entries of one key": _twins,
}

IN_FRAME: dict[str, Callable[[], Forgery]] = {
    "says 1 GiB": lambda: _frame(zeros(GIB, declared=True)),
    "says nothing": lambda: _frame(zeros(GIB, declared=False)),
    "says 4 MiB and holds 1 GiB": lambda: _frame(lying(GIB, FRAME_SIZE)),
    "wants a window of 2 GiB": lambda: _frame(lying(FRAME_SIZE, FRAME_SIZE, window_log=31)),
}
