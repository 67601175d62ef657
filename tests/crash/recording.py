"""Notes what calls do to a folder, in their order."""

from __future__ import annotations

import itertools
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.faults import Call
from tests.crash.power_failure import (
    FOLDER,
    Cut,
    Named,
    Step,
    Synced,
    SyncedFolder,
    Tree,
    Unnamed,
    Wrote,
)


class Recorder:
    """Makes every call, and notes what it does to a folder.

    Attributes:
        before: What the folder held at first.
        steps: What was done to it since.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers: dict[tuple[int, int], int] = {}
        self._fresh = itertools.count()
        self._turn = threading.RLock()
        self.before = self.look()
        self.steps: list[Step] = []

    def __call__(self, call: Call) -> Any:
        note = _NOTES.get(call.name)
        if note is None:
            return call.make()
        with self._turn:
            return note(self, call)

    def look(self) -> Tree:
        """What the folder really holds."""
        found = Tree({}, {})
        for path in sorted(self._root.rglob("*")):
            name = str(self._below(path))
            found.names[name] = FOLDER if path.is_dir() else self._number(path.stat())
            if path.is_file():
                found.files[found.names[name]] = path.read_bytes()
        return found

    def _number(self, status: os.stat_result, *, new: bool = False) -> int:
        # The system gives the number of a file that is gone to the next one.
        identity = (status.st_dev, status.st_ino)
        if new or identity not in self._numbers:
            self._numbers[identity] = next(self._fresh)
        return self._numbers[identity]

    def _below(self, place: Any) -> str | None:
        """The path below the root of a path or a descriptor, if it is there."""
        if isinstance(place, int):
            place = Path(f"/proc/self/fd/{place}").readlink()
        below = os.path.relpath(os.fsdecode(place), self._root)
        return None if below.startswith("..") else below

    def _open(self, call: Call) -> Any:
        path = call.arguments[0]
        name = self._below(path)
        size = os.lstat(path).st_size if os.path.lexists(path) else None
        opened = call.make()
        if name is None:
            return opened
        status = os.fstat(_descriptor(opened, call))
        if size is None:
            self.steps.append(Named(name, self._number(status, new=True)))
        elif status.st_size != size:
            self.steps.append(Cut(self._number(status), status.st_size))
        return opened

    def _write(self, call: Call) -> Any:
        target, piece, *where = call.arguments
        descriptor = _descriptor(target, call)
        offset = where[0] if where else os.lseek(descriptor, 0, os.SEEK_CUR)
        written = call.make()
        if self._below(descriptor) is not None:
            done = bytes(memoryview(piece).cast("B")[:written])
            self.steps.append(Wrote(self._number(os.fstat(descriptor)), offset, done))
        return written

    def _truncate(self, call: Call) -> Any:
        result = call.make()
        target = call.arguments[0]
        place = target.fileno() if hasattr(target, "fileno") else target
        if self._below(place) is not None:
            status = os.stat(place)  # noqa: PTH116  (a path or a descriptor)
            self.steps.append(Cut(self._number(status), status.st_size))
        return result

    def _sync(self, call: Call) -> Any:
        result = call.make()
        descriptor = call.arguments[0]
        if (name := self._below(descriptor)) is not None:
            status = os.fstat(descriptor)
            is_folder = stat.S_ISDIR(status.st_mode)
            self.steps.append(SyncedFolder(name) if is_folder else Synced(self._number(status)))
        return result

    def _name(self, call: Call) -> Any:
        source, target = call.arguments[:2]
        result = call.make()
        if (name := self._below(target)) is not None:
            moved = "" if call.name == "link" else self._below(source) or ""
            self.steps.append(Named(name, self._number(Path(target).stat()), moved))
        elif call.name != "link" and (name := self._below(source)) is not None:
            self.steps.append(Unnamed(name))
        return result

    def _make_folder(self, call: Call) -> Any:
        result = call.make()
        if (name := self._below(call.arguments[0])) is not None:
            self.steps.append(Named(name, FOLDER))
        return result

    def _remove(self, call: Call) -> Any:
        result = call.make()
        if (name := self._below(call.arguments[0])) is not None:
            self.steps.append(Unnamed(name))
        return result


def _descriptor(opened: Any, call: Call) -> int:
    if opened is None:  # it is a file that was made
        opened = call.function.__self__  # type: ignore[attr-defined]
    return opened if isinstance(opened, int) else opened.fileno()


_NOTES: dict[str, Callable[[Recorder, Call], Any]] = {
    "open": Recorder._open,
    "write": Recorder._write,
    "pwrite": Recorder._write,
    "truncate": Recorder._truncate,
    "ftruncate": Recorder._truncate,
    "fsync": Recorder._sync,
    "fdatasync": Recorder._sync,
    "link": Recorder._name,
    "rename": Recorder._name,
    "replace": Recorder._name,
    "mkdir": Recorder._make_folder,
    "unlink": Recorder._remove,
    "remove": Recorder._remove,
    "rmdir": Recorder._remove,
}
