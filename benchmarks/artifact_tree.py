"""Files as Inductor leaves them: the same bytes each time, which zstd packs about 4 to 1.

Ten thousand files and 500 MB: sources, wrappers that Python parses, libraries
with a whole ELF section table, pickles in folders of their own, and four
precompiled headers of about 70 MB, which make up what is left of the bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KB, MB = 1000, 1_000_000
FILES, BYTES, HEADERS = 10_000, 500 * MB, 4


@dataclass(frozen=True, slots=True)
class Kind:
    """Artifacts of one sort.

    Attributes:
        share: Of a hundred files, how many.
        sizes: The least and the largest, in bytes; small ones are as frequent as large ones.
        place: Its path, made from two keys.
        form: What makes a text look like one, without much changing its length.
    """

    share: int
    sizes: tuple[int, int]
    place: Callable[[str, str], str]
    form: Callable[[bytes], bytes]


class Words:
    """Text as long as one likes: idioms that come again and names that hardly do."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(str(seed))
        letters = string.ascii_lowercase + string.digits + "_"

        def word(least: int, most: int) -> bytes:
            length = self._random.randint(least, most)
            return "".join(self._random.choices(letters, k=length)).encode()

        idioms = [word(6, 20) + b" " for _ in range(300)]
        names = [word(5, 10) + b"\n" for _ in range(8000)]
        self._words = idioms * (len(names) // len(idioms)) + names

    def text(self, size: int) -> bytes:
        """That many bytes."""
        text = bytearray()
        while len(text) < size:
            text += b"".join(self._random.choices(self._words, k=min(size, MB) // 8 + 1))
        return bytes(text[:size])

    def size(self, least: int, most: int) -> int:
        """A size, small ones as likely as large ones."""
        return int(least * (most / least) ** self._random.random())


def _library(text: bytes) -> bytes:
    """An ELF-64 file whose two sections are the text and nothing."""
    header, section = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQIIQQ")
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    table = header.size + len(text)
    fields = (3, 62, 1, 0, 0, table, 0, header.size, 0, 0, section.size, 2, 0)
    code = section.pack(0, 1, 6, 0, header.size, len(text), 0, 0, 16, 0)
    return header.pack(identity, *fields) + text + bytes(section.size) + code


def _wrapper(text: bytes) -> bytes:
    """Python whose one half is a kernel's source in a string and the other is calls."""
    kernel, calls = text[: len(text) // 2], text[len(text) // 2 :].split()
    lines = [b"buf%d = call(%r, (8, 16), (16, 1))" % pair for pair in enumerate(calls)]
    return b"kernel = '''\n" + kernel + b"\n'''\n" + b"\n".join(lines[: len(calls) // 4]) + b"\n"


def _pickled(text: bytes) -> bytes:
    return b"\x80\x04" + text + b"."


def _described(text: bytes) -> bytes:
    return json.dumps(text.decode().split("\n")).encode()


def _sharded(suffix: str) -> Callable[[str, str], str]:
    return lambda key, _: f"inductor/{key[1:3]}/c{key}{suffix}"


_KINDS = (
    Kind(34, (1 * KB, 50 * KB), _sharded(".main.cpp"), bytes),
    Kind(8, (1 * KB, 50 * KB), _sharded(".py"), _wrapper),
    Kind(9, (1 * KB, 50 * KB), _sharded(".best_config"), _described),
    Kind(17, (1 * KB, 50 * KB), "inductor/guarded/fxgraph/{0:.2}/f{0}/{1}".format, _pickled),
    Kind(17, (1 * KB, 50 * KB), "inductor/guarded/aotautograd/a{0}/{1}".format, _pickled),
    Kind(15, (20 * KB, 200 * KB), _sharded(".main.so"), _library),
)


def write_tree(root: Path, *, files: int = FILES, size: int = BYTES, headers: int = HEADERS) -> int:
    """Write the tree below a folder: ``inductor/`` and ``headers/``.

    Args:
        root: The folder.
        files: How many files.
        size: Their bytes, which the headers bring to this.
        headers: How many of the files are precompiled headers.

    Returns:
        The bytes that were written.
    """
    written = write_artifacts(root, files - headers, seed=0)
    words = Words("headers")
    for number in range(headers):
        length = max(KB, (size - written) // (headers - number)) - 4
        path = root / "headers" / f"c{_key(0, number)}.h.gch"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        written += path.write_bytes(b"gpch" + words.text(length))
    return written


def write_artifacts(root: Path, count: int, *, seed: int) -> int:
    """Write artifacts without headers; another seed makes others. Returns their bytes."""
    words = Words(seed)
    written = 0
    for number in range(count):
        kind = _kind(number)
        place = kind.place(_key(seed, number), _key(seed, f"content {number}"))
        location = root / place
        location.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        written += location.write_bytes(kind.form(words.text(words.size(*kind.sizes))))
    return written


def _kind(number: int) -> Kind:
    # 37 has no divisor in common with 100: any run of files holds some of each kind.
    position = number * 37 % 100
    for kind in _KINDS:
        position -= kind.share
        if position < 0:
            return kind
    raise AssertionError("the shares do not come to a hundred")


def _key(seed: int, number: object) -> str:
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return base64.b32encode(digest).decode().lower()[:51]
