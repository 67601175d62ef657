"""Writes a pack in one pass. It never packs a file that it could not read whole."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, SupportsIndex

from pytest_compilecache._filesystem import open_unnoticed
from pytest_compilecache.errors import PackError
from pytest_compilecache.pack.index import (
    FOOTER,
    FRAME_SIZE,
    HEAD,
    HEADER,
    MAX_FILES,
    MAX_FRAMES,
    MAX_INDEX_SIZE,
    MAX_INDEX_STORED,
    TAIL,
    VERSION,
    PackFile,
    PackFrame,
    PackIndex,
    check_created,
    check_environment,
    check_supersedes,
    encode_index,
)
from pytest_compilecache.pack.paths import PathSet

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

# A compiler was at work; the next pack may hold the file.
VANISHED, CHANGED = "it vanished", "it changed while it was read"
OUT_OF_TIME = "the time limit of the save was reached"

_WORKERS = 2  # one thread reads and hashes, two compress; more would hold more frames

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


class PackTooLargeError(PackError):
    """What should be packed does not fit into one pack.

    Attributes:
        size: What it had come to when it was stopped.
        limit: What is allowed, in the same unit.
    """

    def __init__(
        self, subject: object, reason: str, remedy: str = "", *, size: int = 0, limit: int = 0
    ) -> None:
        super().__init__(subject, reason, remedy)
        self.size = size
        self.limit = limit

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return *self.__reduce__(), {"size": self.size, "limit": self.limit}


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
    deadline: float = math.inf,
) -> WrittenPack:
    """Write a pack to an empty file, from its first byte to its last.

    A source is left out, and the reason given, when it is no regular file,
    vanished, cannot be read, changed while it was read, or has a path that no
    pack may hold; or when its turn comes too late.

    Args:
        target: The file. It is not closed, and after an error not worth keeping.
        sources: What to pack, in this order.
        environment: The id of the environment that made the files.
        created: The time, in seconds since 1970.
        supersedes: Names of packs whose content this one holds as well, if nothing is
            left out; otherwise it supersedes none.
        max_bytes: What the pack may take. Not one byte more is ever written.
        level: zstd's.
        deadline: When to take no more sources, by ``time.monotonic``. What was taken until
            then makes a whole pack.

    Raises:
        PackTooLargeError: The pack would be larger than that, or than any pack may be.
        ValueError: The environment, the time or a superseded name is none.
        OSError: The target cannot be written.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (14 ms)

    environment, created = check_environment(environment), check_created(created)
    supersedes = check_supersedes(tuple(supersedes))
    output = _Output(target, max_bytes)
    output.write(HEADER.pack(HEAD, VERSION))
    compressors = _Compressors(level)
    with ThreadPoolExecutor(_WORKERS) as pool:
        stream = _FrameStream(output, compressors, pool)
        files, skipped = _pack_all(sources, stream, deadline)
        stream.finish()
    if skipped:  # readers would not look for it where it still stands
        supersedes = ()
    index = PackIndex(environment, created, supersedes, tuple(stream.frames), files)
    name = _write_index(output, index, compressors)
    return WrittenPack(name, output.size, index, skipped)


def _pack_all(
    sources: Iterable[PackSource], stream: _FrameStream, deadline: float
) -> tuple[tuple[PackFile, ...], tuple[tuple[str, str], ...]]:
    files: list[PackFile] = []
    skipped: list[tuple[str, str]] = []
    paths = PathSet()
    for source in sources:
        if fault := paths.add(source.path):
            skipped.append((source.path, f"its path {fault}"))
            continue
        try:
            files.append(_pack_file(source, stream, deadline))
        except _LeftOutError as error:
            skipped.append((source.path, str(error)))
        if len(files) > MAX_FILES:
            raise _too_large("files", len(files), MAX_FILES)
    return tuple(files), tuple(skipped)


def _pack_file(source: PackSource, stream: _FrameStream, deadline: float) -> PackFile:
    _check_time(deadline)
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
            _check_time(deadline)
            digest.update(chunk)
            stream.append(chunk)
        return PackFile(source.path, status.st_size, mode, digest.hexdigest(), frame, offset)
    finally:
        os.close(descriptor)


def _check_time(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise _LeftOutError(OUT_OF_TIME)


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


def _write_index(output: _Output, index: PackIndex, compressors: _Compressors) -> str:
    text = encode_index(index)
    if len(text) > MAX_INDEX_SIZE:
        raise _too_large("bytes of index", len(text), MAX_INDEX_SIZE)
    stored = compressors.compress(text)
    if len(stored) > MAX_INDEX_STORED:
        raise _too_large("bytes of compressed index", len(stored), MAX_INDEX_STORED)
    output.write(stored)
    output.write(FOOTER.pack(len(stored), len(text), 0, VERSION, TAIL))
    return hashlib.sha256(stored).hexdigest()


def _too_large(unit: str, size: int, limit: int) -> PackTooLargeError:
    return PackTooLargeError(
        "a new pack",
        f"it comes to {size:,} {unit}, and {limit:,} are allowed",
        "raise the limit on the size of a save (MAX_CACHE_SIZE_MB), or save fewer files at once",
        size=size,
        limit=limit,
    )


class _Output:
    """A file that is never written beyond a limit."""

    def __init__(self, target: BinaryIO, limit: int | None) -> None:
        self._target = target
        self._limit = limit
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Write it whole, or raise ``PackTooLargeError`` and write nothing."""
        size = self.size + len(piece)
        if self._limit is not None and size > self._limit:
            raise _too_large("bytes", size, self._limit)
        self._target.write(piece)
        self.size = size


class _Compressors:
    """A compressor for each thread: they are costly to make, and not to be shared."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._local = threading.local()

    def compress(self, content: bytes | bytearray) -> bytes:
        """One zstd frame that says how much it holds."""
        from zstandard import ZstdCompressor  # noqa: PLC0415  (12 ms)

        compressor = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = ZstdCompressor(level=self._level)
        compressed: bytes = compressor.compress(content)
        return compressed

    def frame(self, content: bytearray) -> tuple[PackFrame, bytes]:
        """A frame, and the bytes that are stored of it."""
        stored = self.compress(content)
        digest = hashlib.sha256(stored).hexdigest()
        return PackFrame(len(stored), len(content), digest), stored


class _FrameStream:
    """Cuts what is appended into frames and writes them in order, while later ones compress."""

    def __init__(
        self, output: _Output, compressors: _Compressors, pool: ThreadPoolExecutor
    ) -> None:
        self.frames: list[PackFrame] = []
        self._output = output
        self._compressors = compressors
        self._pool = pool
        self._pending: deque[Future[tuple[PackFrame, bytes]]] = deque()
        self._content = bytearray()

    @property
    def position(self) -> tuple[int, int]:
        """The frame, and the offset in it, of the byte that is appended next."""
        return len(self.frames) + len(self._pending), len(self._content)

    def append(self, chunk: bytes) -> None:
        """Add to the content; frames that are full go on their way."""
        rest = memoryview(chunk)
        while rest:
            room = FRAME_SIZE - len(self._content)
            self._content += rest[:room]
            rest = rest[room:]
            if len(self._content) == FRAME_SIZE:
                self._cut()

    def finish(self) -> None:
        """Write what is left."""
        if self._content:
            self._cut()
        while self._pending:
            self._write_oldest()

    def _cut(self) -> None:
        if (count := self.position[0] + 1) > MAX_FRAMES:
            raise _too_large("frames of 4 MiB", count, MAX_FRAMES)
        self._pending.append(self._pool.submit(self._compressors.frame, self._content))
        self._content = bytearray()
        if len(self._pending) > _WORKERS:
            self._write_oldest()

    def _write_oldest(self) -> None:
        frame, stored = self._pending.popleft().result()
        self._output.write(stored)
        self.frames.append(frame)
