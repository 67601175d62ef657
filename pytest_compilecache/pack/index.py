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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from pytest_compilecache.pack.paths import fault_of_all

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
# Seven for a file, four for a frame, one for a name; the rest is for paths that hold such letters.
MAX_VALUES = 8 * MAX_FILES + 4 * MAX_FRAMES + MAX_SUPERSEDES
MAX_INDEX_STORED = 16 * MIB
MAX_INDEX_SIZE = 24 * MIB  # parsing takes three times as much
MAX_SIGNATURE = 4096
MAX_WINDOW = FRAME_SIZE
MAX_CREATED = 253_402_300_800  # the year 10000, which no calendar here can show
MODES = frozenset({0o600, 0o700})
ENVIRONMENT_ID = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_LENGTH = 64
_HEX = re.compile(r"[0-9a-f]*")
_FILE_FIELDS, _FRAME_FIELDS = 6, 3
_KEYS = ("created", "environment", "files", "frames", "supersedes")


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
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_VALUES:
        # Before it is parsed: an empty list takes 2 bytes there and 64 in memory.
        raise ValueError("it lists too much")
    try:
        # One letter beyond ASCII, and each letter of the text takes four bytes in memory.
        content = json.loads(text.decode("ascii"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(content, dict) or sorted(content) != list(_KEYS):
        raise ValueError(f"it does not have the keys {', '.join(_KEYS)}")
    frames = _frames(content["frames"])
    return PackIndex(
        environment=check_environment(content["environment"]),
        created=check_created(content["created"]),
        supersedes=check_supersedes(content["supersedes"]),
        frames=frames,
        files=_files(content["files"], frames),
    )


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


def _frames(rows: object) -> tuple[PackFrame, ...]:
    columns = _columns(rows, _FRAME_FIELDS, MAX_FRAMES)
    if not columns:
        return ()
    stored, sizes, digests = columns
    _check_numbers(stored, 1, MAX_FRAME_STORED)
    _check_numbers(sizes, 1, FRAME_SIZE)
    _check_digests(digests)
    return tuple(map(PackFrame, stored, sizes, digests))


def _files(rows: object, frames: tuple[PackFrame, ...]) -> tuple[PackFile, ...]:
    # By columns: file by file, ten thousand take a tenth of a second.
    columns = _columns(rows, _FILE_FIELDS, MAX_FILES)
    if not columns:
        return ()
    paths, sizes, modes, digests, firsts, offsets = columns
    _check_numbers(sizes, 0, MAX_FRAMES * FRAME_SIZE)
    _check_numbers(firsts, 0, MAX_FRAMES)
    _check_numbers(offsets, 0, FRAME_SIZE)
    _check_digests(digests)
    if set(map(type, modes)) != {int} or not MODES.issuperset(modes):
        raise ValueError("a file has mode other than 600 and 700")
    if fault := fault_of_all(paths):
        raise ValueError(fault)
    files = tuple(map(PackFile, *columns))
    _check_places(files, frames)
    return files


def _columns(rows: object, fields: int, limit: int) -> list[tuple[Any, ...]]:
    if not isinstance(rows, list) or len(rows) > limit:
        raise ValueError("its files or frames are no list, or too many")
    if any(type(row) is not list or len(row) != fields for row in rows):
        raise ValueError(f"a file or frame is no list of {fields}")
    return list(zip(*rows, strict=True))


def _check_numbers(values: Sequence[Any], least: int, most: int) -> None:
    if set(map(type, values)) == {int}:  # a bool is an int to isinstance
        values = (min(values), max(values))
    for value in values:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{value!r:.40} is not a number from {least} to {most}")


def _check_digests(values: Sequence[Any]) -> None:
    text = set(map(type, values)) == {str} and set(map(len, values)) == {_DIGEST_LENGTH}
    if text and _HEX.fullmatch("".join(values)):
        return
    wrong = next(value for value in values if not is_name(value))
    raise ValueError(f"{wrong!r:.80} is not a digest")


def _check_places(files: tuple[PackFile, ...], frames: tuple[PackFrame, ...]) -> None:
    """See that each file has bytes of its own."""
    sizes = [frame.size for frame in frames]
    starts = frame_starts(sizes)
    end = 0
    for path, size, _, _, frame, offset in files:
        if not size:
            if frame or offset:
                raise ValueError(f"{path!r} is empty, and yet lies somewhere")
            continue
        if frame >= len(sizes) or offset >= sizes[frame]:
            raise ValueError(f"{path!r} begins outside of its frame")
        start = starts[frame] + offset
        if start < end:
            raise ValueError(f"{path!r} overlaps the file before it")
        end = start + size
        if end > starts[-1]:
            raise ValueError(f"{path!r} ends behind the last frame")


def frame_starts(sizes: Iterable[int]) -> list[int]:
    """Where each of some adjoining pieces begins, and where the last one ends."""
    return list(accumulate(sizes, initial=0))
