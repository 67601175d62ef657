"""Reads packs that anybody may have written. Nothing is unpacked before its digest is checked."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from pytest_compilecache.errors import PackError
from pytest_compilecache.pack.index import (
    FOOTER,
    HEAD,
    HEADER,
    MAX_INDEX_SIZE,
    MAX_INDEX_STORED,
    MAX_SIGNATURE,
    MAX_WINDOW,
    TAIL,
    VERSION,
    PackFile,
    PackIndex,
    frame_starts,
    is_name,
    parse_index,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from zstandard import ZstdDecompressor

_DAMAGED = "what it held is compiled again, and saved in another pack"
_FOREIGN = "use the version of pytest-compilecache that wrote it, or a later one"


class _Footer(NamedTuple):
    index_stored: int
    index_size: int
    signature: int
    version: int
    tail: bytes


class PackReader:
    """An open pack whose index was checked.

    Args:
        source: The pack; it must be seekable, is not closed here, and must be
            left alone while files are extracted.
        name: The name under which it was found.

    Attributes:
        name: The same.
        index: What it holds.
        size: All its bytes.

    Raises:
        PackError: It is torn, hostile, of another version, or not of this name.
    """

    def __init__(self, source: BinaryIO, *, name: str) -> None:
        from zstandard import ZstdDecompressor  # noqa: PLC0415  (12 ms)

        if not is_name(name):
            raise PackError(f"{name!r:.80}", "it is not the name of a pack", _DAMAGED)
        self.name = name
        self.size = source.seek(0, 2)
        self._source = source
        self._turn = threading.Lock()
        self._decompressor = ZstdDecompressor(max_window_size=MAX_WINDOW)
        self.index = self._read_index()
        self._content_starts = frame_starts(frame.size for frame in self.index.frames)
        self._stored_starts = self._place_frames()

    def extract(self, wanted: Collection[str]) -> Iterator[tuple[PackFile, Iterator[bytes]]]:
        """The content of some files, in the order in which it is stored.

        Frames that hold nothing of them are not read, the others once each,
        one ahead of need: about two are in memory. A file's content must be
        taken before the next file is asked for; what is left of it is skipped.

        Args:
            wanted: Their paths.

        Yields:
            Each file with its content in pieces. These raise ``PackError`` at a
            damaged frame; the files after it may be whole nevertheless.

        Raises:
            KeyError: The pack has no file of that path.
        """
        left = set(wanted)
        chosen = [file for file in self.index.files if file.path in left]
        left.difference_update(file.path for file in chosen)
        if left:
            raise KeyError(min(left))
        return self._extract(chosen)

    def damaged(self) -> dict[str, str]:
        """Read everything; the paths of the files that are not whole, each with the reason."""
        bad: dict[int, str] = {}
        for number in range(len(self.index.frames)):
            try:
                self._load(number)
            except PackError as error:
                bad[number] = error.reason
        return {
            file.path: bad[number]
            for file in self.index.files
            for number in self._frames_of(file)
            if number in bad
        }

    def _extract(self, files: list[PackFile]) -> Iterator[tuple[PackFile, Iterator[bytes]]]:
        needed = sorted({number for file in files for number in self._frames_of(file)})
        frames = _FramesAhead(self._load, needed)
        exhausted = False
        try:
            for file in files:
                yield file, _content(file, frames)
            exhausted = True
        finally:
            # Afterwards no thread is left, or a fork would warn of it. Not so when
            # given up: the collector may do that on the very thread to be waited for.
            frames.close(wait=exhausted)

    def _frames_of(self, file: PackFile) -> range:
        if not file.size:
            return range(0)
        end = self._content_starts[file.frame] + file.offset + file.size
        return range(file.frame, bisect_right(self._content_starts, end - 1))

    def _read_index(self) -> PackIndex:
        if self.size < HEADER.size + FOOTER.size:
            raise self._damaged("it is too short to be a pack")
        head, version = HEADER.unpack(self._read(0, HEADER.size))
        footer = _Footer(*FOOTER.unpack(self._read(self.size - FOOTER.size, FOOTER.size)))
        if head != HEAD or footer.tail != TAIL:
            raise self._damaged("it does not begin and end as a pack does")
        if (version, footer.version) != (VERSION, VERSION):
            reason = f"its format is version {version}, and only {VERSION} is known here"
            raise PackError(self.name, reason, _FOREIGN)
        self._index_start = self._place_index(footer)
        stored = self._read(self._index_start, footer.index_stored)
        if hashlib.sha256(stored).hexdigest() != self.name:
            raise self._damaged("its index is not the one that it is named after")
        try:
            return parse_index(_decompress(self._decompressor, stored, footer.index_size))
        except ValueError as error:
            raise self._damaged(f"its index is not valid: {error}") from None

    def _place_index(self, footer: _Footer) -> int:
        if (
            footer.index_stored > MAX_INDEX_STORED
            or footer.index_size > MAX_INDEX_SIZE
            or footer.signature > MAX_SIGNATURE
        ):
            raise self._damaged("its index or its signature is too long")
        start = self.size - FOOTER.size - footer.signature - footer.index_stored
        if start < HEADER.size:
            raise self._damaged("its index does not fit into it")
        return start

    def _place_frames(self) -> list[int]:
        starts = frame_starts(frame.stored for frame in self.index.frames)
        if HEADER.size + starts[-1] != self._index_start:
            raise self._damaged("its frames do not fill the space before its index")
        return [HEADER.size + start for start in starts]

    def _load(self, number: int) -> bytes:
        frame = self.index.frames[number]
        with self._turn:
            stored = self._read(self._stored_starts[number], frame.stored)
            if hashlib.sha256(stored).hexdigest() != frame.digest:
                raise self._damaged(f"frame {number} is not what the index says")
            try:
                return _decompress(self._decompressor, stored, frame.size)
            except ValueError as error:
                raise self._damaged(f"frame {number} is not valid: {error}") from None

    def _read(self, start: int, length: int) -> bytes:
        self._source.seek(start)
        content = self._source.read(length)
        while len(content) < length:  # an unbuffered file may give less than is there
            more = self._source.read(length - len(content))
            if not more:
                raise self._damaged("it ends too early")
            content += more
        return content

    def _damaged(self, reason: str) -> PackError:
        return PackError(self.name, reason, _DAMAGED)


class _FramesAhead:
    """Frames in the order in which they are needed, each loaded while its forerunner is used."""

    def __init__(self, load: Callable[[int], bytes], needed: Iterable[int]) -> None:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  (14 ms)

        self._load = load
        self._next = dict(pairwise(needed))
        self._held: dict[int, Future[bytes]] = {}
        self._pool = ThreadPoolExecutor(1)

    def get(self, number: int) -> bytes:
        if next(iter(self._held), None) != number:
            ahead = self._next.get(number)
            self._held = {
                each: self._held.get(each) or self._pool.submit(self._load, each)
                for each in (number, ahead)
                if each is not None
            }
        return self._held[number].result()

    def close(self, *, wait: bool) -> None:
        self._held.clear()
        self._pool.shutdown(wait=wait, cancel_futures=True)


def _content(file: PackFile, frames: _FramesAhead) -> Iterator[bytes]:
    number, offset, left = file.frame, file.offset, file.size
    while left:
        piece = frames.get(number)[offset : offset + left]
        left -= len(piece)
        yield piece
        number, offset = number + 1, 0


def _decompress(decompressor: ZstdDecompressor, stored: bytes, size: int) -> bytes:
    from zstandard import ZstdError, get_frame_parameters  # noqa: PLC0415  (12 ms)

    try:
        parameters = get_frame_parameters(stored)
        if parameters.content_size != size or parameters.window_size > MAX_WINDOW:
            # zstd allocates what the frame itself declares.
            raise ValueError("it declares another size, or too wide a window")
        content = decompressor.decompress(stored, max_output_size=size, allow_extra_data=False)
    except ZstdError as error:
        raise ValueError(f"zstd: {error}") from None
    if len(content) != size:
        raise ValueError("it does not hold what it declares")
    return content
