"""Writes a pack in one pass. It never packs a file that it could not read whole."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pytest_compilecache._filesystem import open_unnoticed
from pytest_compilecache.pack.index import (
    FOOTER,
    FRAME_SIZE,
    HEAD,
    HEADER,
    MAX_COMMAS,
    MAX_FILES,
    MAX_FRAMES,
    MAX_INDEX_SIZE,
    MAX_INDEX_STORED,
    TAIL,
    VERSION,
    PackFile,
    PackIndex,
    check_created,
    check_environment,
    check_supersedes,
    count_rows,
    encode_index,
)
from pytest_compilecache.pack.paths import PathSet
from pytest_compilecache.pack.stream import WORKERS, Compressors, FrameStream, Output, too_large

# A compiler was at work; the next pack may hold the file.
VANISHED, CHANGED = "it vanished", "it changed while it was read"

_EMPTY = hashlib.sha256().hexdigest()
_OPEN_FLAGS = (
    os.O_RDONLY
    | os.O_CLOEXEC
    | os.O_NOFOLLOW
    | os.O_NONBLOCK  # or opening a pipe that nobody writes to would wait for ever
)


@dataclass(frozen=True, slots=True)
class PackSource:
    """A file to be packed.

    Attributes:
        path: Its path in the pack.
        location: Where its bytes lie.
    """

    path: str
    location: Path


@dataclass(frozen=True, slots=True)
class WrittenPack:
    """A pack that was written.

    Attributes:
        name: Its name.
        size: All its bytes.
        index: What it holds.
        skipped: The paths that it does not hold though they were asked for, each with the reason.
    """

    name: str
    size: int
    index: PackIndex
    skipped: tuple[tuple[str, str], ...]


class _LeftOutError(Exception):
    """A source cannot be packed; the text says why."""


def write_pack(
    target: BinaryIO,
    sources: Iterable[PackSource],
    *,
    environment: str,
    created: float,
    supersedes: Iterable[str] = (),
    max_bytes: int | None = None,
    level: int = 3,
) -> WrittenPack:
    """Write a pack to an empty file, from its first byte to its last.

    A source is left out, and the reason given, when it is no regular file,
    vanished, cannot be read, changed while it was read, or has a path that no
    pack may hold.

    Args:
        target: The file. It is not closed, and after an error not worth keeping.
        sources: What to pack, in this order.
        environment: The id of the environment that made the files.
        created: The time, in seconds since 1970.
        supersedes: Names of packs whose content this one holds as well, if nothing is
            left out; otherwise it supersedes none.
        max_bytes: What the pack may take. Not one byte more is ever written.
        level: zstd's.

    Raises:
        PackTooLargeError: The pack would be larger than that, or than any pack may be.
        ValueError: The environment, the time or a superseded name is none.
        OSError: The target cannot be written.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (14 ms)

    environment, created = check_environment(environment), check_created(created)
    supersedes = check_supersedes(tuple(supersedes))
    output = Output(target, max_bytes)
    output.write(HEADER.pack(HEAD, VERSION))
    compressors = Compressors(level)
    with ThreadPoolExecutor(WORKERS) as pool:
        stream = FrameStream(output, compressors, pool)
        files, skipped = _pack_all(sources, stream)
        stream.finish()
    if skipped:  # readers would not look for it where it still stands
        supersedes = ()
    index = PackIndex(environment, created, supersedes, tuple(stream.frames), files)
    name = _write_index(output, index, compressors)
    return WrittenPack(name, output.size, index, skipped)


def _pack_all(
    sources: Iterable[PackSource], stream: FrameStream
) -> tuple[tuple[PackFile, ...], tuple[tuple[str, str], ...]]:
    files: list[PackFile] = []
    skipped: list[tuple[str, str]] = []
    paths = PathSet()
    for source in sources:
        if fault := paths.add(source.path):
            skipped.append((source.path, f"its path {fault}"))
            continue
        try:
            files.append(_pack_file(source, stream))
        except _LeftOutError as error:
            skipped.append((source.path, str(error)))
        if len(files) > MAX_FILES:
            raise too_large("files", len(files), MAX_FILES)
    return tuple(files), tuple(skipped)


def _pack_file(source: PackSource, stream: FrameStream) -> PackFile:
    descriptor = _open(source.location)
    try:
        status = _regular_status(descriptor)
        mode = 0o700 if status.st_mode & stat.S_IXUSR else 0o600
        if not status.st_size:
            return PackFile(source.path, 0, mode, _EMPTY, 0, 0)
        chunks: Iterable[bytes] = _read(descriptor, status)
        if status.st_size <= FRAME_SIZE:
            # Whole before the first byte enters the stream. Of a larger file
            # that changes meanwhile, bytes stay behind that belong to nobody.
            chunks = list(chunks)
        frame, offset = stream.position
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
            stream.append(chunk)
        return PackFile(source.path, status.st_size, mode, digest.hexdigest(), frame, offset)
    finally:
        os.close(descriptor)


def _open(location: Path) -> int:
    try:
        return open_unnoticed(location, _OPEN_FLAGS)
    except FileNotFoundError:
        raise _LeftOutError(VANISHED) from None
    except (OSError, ValueError) as error:
        code = getattr(error, "errno", None)
        if code == errno.ELOOP:
            raise _LeftOutError("it is a symbolic link") from None
        if code == errno.ENXIO:
            raise _LeftOutError("it is not a regular file") from None
        raise _LeftOutError(f"it cannot be read: {_words(error)}") from None


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _regular_status(descriptor: int) -> os.stat_result:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _LeftOutError("it is not a regular file")
    return status


def _read(descriptor: int, before: os.stat_result) -> Iterator[bytes]:
    left = before.st_size
    try:
        while left and (chunk := os.read(descriptor, min(left, FRAME_SIZE))):
            left -= len(chunk)
            yield chunk
        after = os.fstat(descriptor)
    except OSError as error:
        raise _LeftOutError(f"it cannot be read: {_words(error)}") from None
    changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if left or changed:
        raise _LeftOutError(CHANGED)


def _write_index(output: Output, index: PackIndex, compressors: Compressors) -> str:
    text = encode_index(index)
    if len(text) > MAX_INDEX_SIZE:
        raise too_large("bytes of index", len(text), MAX_INDEX_SIZE)
    if (rows := count_rows(text)) > MAX_FILES + MAX_FRAMES:
        raise too_large("brackets in paths", rows, MAX_FILES + MAX_FRAMES)
    if (commas := text.count(b",")) > MAX_COMMAS:
        raise too_large("commas in paths", commas, MAX_COMMAS)
    stored = compressors.compress(text)
    if len(stored) > MAX_INDEX_STORED:
        raise too_large("bytes of compressed index", len(stored), MAX_INDEX_STORED)
    output.write(stored)
    output.write(FOOTER.pack(len(stored), len(text), 0, VERSION, TAIL))
    return hashlib.sha256(stored).hexdigest()
