"""Turns content into stored frames, in order. It never writes beyond a limit."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, BinaryIO, SupportsIndex

from pytest_compilecache.errors import PackError
from pytest_compilecache.pack.index import FRAME_SIZE, MAX_FRAMES, PackFrame

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

WORKERS = 2  # one thread reads and hashes, two compress; more would hold more frames


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


def too_large(unit: str, size: int, limit: int) -> PackTooLargeError:
    """The error for a pack that comes to more of something than is allowed."""
    return PackTooLargeError(
        "a new pack",
        f"it comes to {size:,} {unit}, and {limit:,} are allowed",
        "raise the limit on the size of a save (MAX_CACHE_SIZE_MB), or save fewer files at once",
        size=size,
        limit=limit,
    )


class Output:
    """A file that is never written beyond a limit."""

    def __init__(self, target: BinaryIO, limit: int | None) -> None:
        self._target = target
        self._limit = limit
        self.size = 0

    def write(self, piece: bytes) -> None:
        """Write it whole, or raise ``PackTooLargeError`` and write nothing."""
        size = self.size + len(piece)
        if self._limit is not None and size > self._limit:
            raise too_large("bytes", size, self._limit)
        self._target.write(piece)
        self.size = size


class Compressors:
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


class FrameStream:
    """Cuts what is appended into frames and writes them in order, while later ones compress."""

    def __init__(self, output: Output, compressors: Compressors, pool: ThreadPoolExecutor) -> None:
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
            raise too_large("frames of 4 MiB", count, MAX_FRAMES)
        self._pending.append(self._pool.submit(self._compressors.frame, self._content))
        self._content = bytearray()
        if len(self._pending) > WORKERS:
            self._write_oldest()

    def _write_oldest(self) -> None:
        frame, stored = self._pending.popleft().result()
        self._output.write(stored)
        self.frames.append(frame)
