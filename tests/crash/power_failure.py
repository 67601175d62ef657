"""What may be left of a folder after a power failure, by what was done to it and in which order.

The model is POSIX's promise and no file system's habit: bytes of a file are safe
once the file was synced, and a name once the folder that holds it was. Whatever
else was written may be there or not, whole or in part, in any order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = -1  # in the place of a file's number
_MOST_COMBINED = 5  # of names that are not safe, every combination is tried up to so many


@dataclass(frozen=True)
class Named:
    """A path came into being, in the place of another one where it was moved."""

    path: str
    file: int
    moved_from: str = ""


@dataclass(frozen=True)
class Unnamed:
    """A path went."""

    path: str


@dataclass(frozen=True)
class Wrote:
    """Bytes went into a file."""

    file: int
    offset: int
    piece: bytes


@dataclass(frozen=True)
class Cut:
    """A file got another length."""

    file: int
    size: int


@dataclass(frozen=True)
class Synced:
    """What a file holds is safe."""

    file: int


@dataclass(frozen=True)
class SyncedFolder:
    """What is named in a folder is safe."""

    path: str


Step = Named | Unnamed | Wrote | Cut | Synced | SyncedFolder
Naming = Named | Unnamed


@dataclass(frozen=True)
class Tree:
    """What a folder holds.

    Attributes:
        names: The number of the file behind each path, or FOLDER.
        files: The content by number.
    """

    names: dict[str, int]
    files: dict[int, bytes]

    def content(self) -> dict[str, bytes | None]:
        """The content behind each path, None of folders."""
        return {
            path: None if file == FOLDER else self.files.get(file, b"")
            for path, file in self.names.items()
        }


def write(content: dict[str, bytes | None], root: Path) -> None:
    """Make a folder of this content."""
    root.mkdir()
    for path, piece in sorted(content.items()):
        if piece is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(piece)


def after(before: Tree, steps: Sequence[Step]) -> Tree:
    """What there is after some steps, when the power stays."""
    namings = [step for step in steps if isinstance(step, Naming)]
    return Tree(_named(before, namings), _files(before, steps)[1])


def possible_after(before: Tree, steps: Sequence[Step]) -> Iterator[dict[str, bytes | None]]:
    """Everything that there may be when the power fails after some steps, each once."""
    safe, written = _files(before, steps)
    seen = set()
    for namings, damage in itertools.product(_survivors(steps), _DAMAGES):
        files = {file: damage(safe.get(file, b""), content) for file, content in written.items()}
        content = Tree(_named(before, namings), files).content()
        key = frozenset(content.items())
        if key not in seen:
            seen.add(key)
            yield content


def _kept(_safe: bytes, written: bytes) -> bytes:
    return written


def _lost(safe: bytes, _written: bytes) -> bytes:
    return safe


def _never_filled(safe: bytes, written: bytes) -> bytes:
    return safe + bytes(max(len(written) - len(safe), 0))


def _half_kept(safe: bytes, written: bytes) -> bytes:
    return written[: (len(safe) + len(written)) // 2]


_DAMAGES = (_kept, _lost, _never_filled, _half_kept)


def _files(before: Tree, steps: Sequence[Step]) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """What is safe of each file, and what was written."""
    written = dict(before.files)
    safe = dict(before.files)
    for step in steps:
        if isinstance(step, Wrote):
            old = written.get(step.file, b"").ljust(step.offset, b"\0")
            end = step.offset + len(step.piece)
            written[step.file] = old[: step.offset] + step.piece + old[end:]
        elif isinstance(step, Cut):
            old = written.get(step.file, b"")
            written[step.file] = old[: step.size].ljust(step.size, b"\0")
        elif isinstance(step, Synced):
            safe[step.file] = written.get(step.file, b"")
    return safe, written


def _survivors(steps: Sequence[Step]) -> Iterator[list[Naming]]:
    """The steps about names that outlive the failure, as one or another file system has it."""
    safe: set[int] = set()
    unsafe: set[int] = set()
    for number, step in enumerate(steps):
        if isinstance(step, Naming):
            unsafe.add(number)
        elif isinstance(step, SyncedFolder):
            synced = {each for each in unsafe if _folder(steps[each]) == step.path}
            safe |= synced
            unsafe -= synced
    for lucky in _combinations(sorted(unsafe)):
        yield [
            step
            for number, step in enumerate(steps)
            if isinstance(step, Naming) and (number in safe or number in lucky)
        ]


def _combinations(numbers: list[int]) -> Iterator[tuple[int, ...]]:
    if len(numbers) <= _MOST_COMBINED:
        for count in range(len(numbers) + 1):
            yield from itertools.combinations(numbers, count)
        return
    yield ()
    for each in range(len(numbers)):
        yield tuple(numbers[: each + 1])  # in order
        yield (numbers[each],)
        yield tuple(numbers[:each] + numbers[each + 1 :])


def _named(before: Tree, namings: Sequence[Naming]) -> dict[str, int]:
    names = dict(before.names)
    for step in namings:
        if isinstance(step, Unnamed):
            names.pop(step.path, None)
        elif names.get(_folder(step), FOLDER if "/" not in step.path else None) == FOLDER:
            # Otherwise the folder itself is lost, and what was in it.
            names.pop(step.moved_from, None)
            names[step.path] = step.file
    return names


def _folder(step: Step) -> str:
    assert isinstance(step, Naming)
    return step.path.rpartition("/")[0] or "."
