"""The form of a pack, and the one parser of its index. It touches no file.

::

    pack      = header frame* index signature footer
    header    = HEAD version
    frame     = one zstd frame of at most FRAME_SIZE bytes of content
    index     = one zstd frame of JSON: keys sorted, no spaces, ASCII
    signature = bytes, none as yet
    footer    = length of index, size of its JSON, length of signature, version, TAIL

    JSON      = {"created": seconds since 1970, "environment": id, "files": [file*],
                 "frames": [[stored, size, digest]*], "supersedes": [name*]}
    file      = [path, size, mode, digest, frame, offset]

The name of a pack is the SHA-256 of its index as stored; a digest is a SHA-256
in lower-case hex: a frame's is that of its stored bytes, a file's that of its
content. Lengths and versions are unsigned, little-endian, 32 bits wide.

The content is the files' bytes in the order of the index, cut into frames. A
file begins ``offset`` bytes into its frame and goes on through the next ones;
an empty one says frame 0, offset 0. Files never overlap. Bytes between them
belong to nobody: a file that changed while it was packed leaves some.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

from pytest_compilecache.pack.paths import PathSet

VERSION = 1
HEAD = b"\x89CCPACK\n"
TAIL = b"CCPACK\n\x89"
HEADER = struct.Struct("<8sI")
FOOTER = struct.Struct("<4I8s")

MIB = 1 << 20
FRAME_SIZE = 4 * MIB
MAX_FRAME_STORED = FRAME_SIZE + 64 * 1024  # what does not compress grows by 0.4 %
MAX_FRAMES = 4096
MAX_FILES = 100_000
MAX_SUPERSEDES = 10_000
MAX_COMMAS = 8 * MAX_FILES + 4 * MAX_FRAMES + MAX_SUPERSEDES
MAX_INDEX_STORED = 16 * MIB
MAX_INDEX_SIZE = 24 * MIB  # parsing takes three times as much
MAX_SIGNATURE = 4096
MAX_WINDOW = FRAME_SIZE
MAX_CREATED = 253_402_300_800  # the year 10000, which no calendar here can show
MODES = frozenset({0o600, 0o700})
ENVIRONMENT_ID = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEYS = ("created", "environment", "files", "frames", "supersedes")

_Row = TypeVar("_Row")


class PackFile(NamedTuple):
    """One file in a pack; a frozen dataclass takes four times as long to make.

    Attributes:
        path: Its path, relative, with a root of its kind as first component.
        size: Bytes of its content.
        mode: 0o700 when it can be executed, otherwise 0o600.
        digest: SHA-256 of its content.
        frame: The frame that holds its first byte.
        offset: Where in that frame's content it begins.
    """

    path: str
    size: int
    mode: int
    digest: str
    frame: int
    offset: int


@dataclass(frozen=True, slots=True)
class PackFrame:
    """One compressed piece of the content.

    Attributes:
        stored: Bytes in the pack.
        size: Bytes of content.
        digest: SHA-256 of the stored bytes.
    """

    stored: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class PackIndex:
    """What a pack holds.

    Attributes:
        environment: The id of the environment that made it.
        created: When, in seconds since 1970.
        supersedes: The names of packs whose content it holds as well.
        frames: In the order in which they are stored.
        files: In the order of their content.
    """

    environment: str
    created: float
    supersedes: tuple[str, ...]
    frames: tuple[PackFrame, ...]
    files: tuple[PackFile, ...]


def encode_index(index: PackIndex) -> bytes:
    """The JSON of an index."""
    content = {
        "created": index.created,
        "environment": index.environment,
        "files": index.files,
        "frames": [(frame.stored, frame.size, frame.digest) for frame in index.frames],
        "supersedes": index.supersedes,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode(
        "ascii"
    )


def parse_index(text: bytes) -> PackIndex:
    """The index that this JSON says.

    Raises:
        ValueError: It is not one of ours; it says why.
    """
    if count_rows(text) > MAX_FILES + MAX_FRAMES or text.count(b",") > MAX_COMMAS:
        # Before it is parsed: an empty list takes 2 bytes there and 64 in memory.
        raise ValueError("it lists too much")
    try:
        # One letter beyond ASCII, and each letter of the text takes four bytes in memory.
        content = json.loads(text.decode("ascii"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(content, dict) or sorted(content) != list(_KEYS):
        raise ValueError(f"it does not have the keys {', '.join(_KEYS)}")
    frames = _rows(content["frames"], _frame, MAX_FRAMES)
    return PackIndex(
        environment=check_environment(content["environment"]),
        created=check_created(content["created"]),
        supersedes=check_supersedes(content["supersedes"]),
        frames=frames,
        files=_placed(_rows(content["files"], _file, MAX_FILES), frames),
    )


def count_rows(text: bytes) -> int:
    """How many lists and objects the JSON can hold below the outermost."""
    return text.count(b"[") + text.count(b"{") - 4


def is_name(value: object) -> bool:
    """Whether this is the name of a pack, or any other digest."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def check_environment(value: object) -> str:
    """The id of an environment, which is the name of a folder as well."""
    if not isinstance(value, str) or not re.fullmatch(ENVIRONMENT_ID, value):
        raise ValueError(f"{value!r:.80} is not the id of an environment")
    return value


def check_created(value: object) -> float:
    """A time that every calendar can show."""
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)  # which is an int, too
        and 0 <= value < MAX_CREATED
    ):
        return float(value)
    raise ValueError(f"{value!r:.80} is not a time")


def check_supersedes(names: object) -> tuple[str, ...]:
    """The names of other packs, each once."""
    if not isinstance(names, (list, tuple)) or len(names) > MAX_SUPERSEDES:
        raise ValueError("the packs that it supersedes are no list, or too many")
    if not all(map(is_name, names)) or len(set(names)) != len(names):
        raise ValueError("a pack that it supersedes has no proper name, or is named twice")
    return tuple(names)


def _rows(rows: object, parse: Callable[[list[Any]], _Row], limit: int) -> tuple[_Row, ...]:
    if not isinstance(rows, list) or len(rows) > limit:
        raise ValueError("its files or frames are no list, or too many")
    if not all(isinstance(row, list) for row in rows):
        raise ValueError("a file or frame is no list")
    return tuple(map(parse, rows))


def _frame(row: list[Any]) -> PackFrame:
    stored, size, digest = row
    _check_number(stored, 1, MAX_FRAME_STORED)
    _check_number(size, 1, FRAME_SIZE)
    _check_digest(digest)
    return PackFrame(stored, size, digest)


def _file(row: list[Any]) -> PackFile:
    path, size, mode, digest, frame, offset = row
    _check_number(size, 0, MAX_FRAMES * FRAME_SIZE)
    _check_number(frame, 0, MAX_FRAMES)
    _check_number(offset, 0, FRAME_SIZE)
    _check_digest(digest)
    if type(mode) is not int or mode not in MODES:
        raise ValueError(f"{path!r:.80} has mode {mode!r:.20}")
    return PackFile(path, size, mode, digest, frame, offset)


def _check_number(value: object, least: int, most: int) -> None:
    # A bool is an int to isinstance.
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.40} is not a number from {least} to {most}")


def _check_digest(value: object) -> None:
    if not is_name(value):
        raise ValueError(f"{value!r:.80} is not a digest")


def _placed(files: tuple[PackFile, ...], frames: tuple[PackFrame, ...]) -> tuple[PackFile, ...]:
    """The files, once it is sure that each has a path and bytes of its own."""
    starts = frame_starts(frame.size for frame in frames)
    paths = PathSet()
    end = 0
    for file in files:
        if fault := paths.add(file.path):
            raise ValueError(f"the path {file.path!r:.80} {fault}")
        if file.size:
            end = _end_of(file, frames, starts, after=end)
        elif file.frame or file.offset:
            raise ValueError(f"{file.path!r} is empty, and yet lies somewhere")
    return files


def _end_of(file: PackFile, frames: tuple[PackFrame, ...], starts: list[int], *, after: int) -> int:
    if file.frame >= len(frames) or file.offset >= frames[file.frame].size:
        raise ValueError(f"{file.path!r} begins outside of its frame")
    start = starts[file.frame] + file.offset
    if start < after:
        raise ValueError(f"{file.path!r} overlaps the file before it")
    if start + file.size > starts[-1]:
        raise ValueError(f"{file.path!r} ends behind the last frame")
    return start + file.size


def frame_starts(sizes: Iterable[int]) -> list[int]:
    """Where each of some adjoining pieces begins, and where the last one ends."""
    return list(accumulate(sizes, initial=0))
