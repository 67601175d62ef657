"""Makes room for a cached library that does not load, so that torch builds it anew, once.

A kill while linking, a full disk or another machine's linker leaves one behind, and
torch would fail on it in every later run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import CompileEvent
from pytest_compilecache.compiling.failures import EventListener, chain

_LIBRARY = re.compile(r"(/[^\0\n:'\"]+\.(?:so|dylib))")


class Repair:
    """Sets libraries aside that do not load, each at most once in a process.

    Args:
        listener: Takes an event for each.
        set_aside: Moves a file out of torch's way; says whether it did.
    """

    def __init__(self, listener: EventListener, set_aside: Callable[[Path], bool]) -> None:
        self._listener = listener
        self._set_aside = set_aside
        self._tried: set[Path] = set()
        self._lock = threading.Lock()

    def __call__(self, error: BaseException) -> bool:
        """Whether a library stood in the way and no longer does."""
        for each in chain(error):
            library = unloadable(each)
            if library is not None and self._move(library):
                reason = f"{library.name} did not load ({each}); it is set aside and built anew"
                self._listener.add(CompileEvent("repair", reason=" ".join(reason.split())))
                return True
        return False

    def _move(self, library: Path) -> bool:
        with self._lock:
            if library in self._tried:
                return False
            self._tried.add(library)
        return self._set_aside(library)


def unloadable(error: BaseException) -> Path | None:
    """The library among torch's artifacts that an error says does not load, or None."""
    if not isinstance(error, (ImportError, OSError)):
        return None
    named = getattr(error, "path", None) or getattr(error, "filename", None)
    match = _LIBRARY.search(str(error))
    text = named if isinstance(named, str) and _LIBRARY.fullmatch(named) else match and match[1]
    if not text:
        return None
    library = Path(text)
    folders = [Path(folder) for folder in private.artifact_folders()]
    inside = any(library.is_relative_to(folder) for folder in folders)
    return library if inside and library.is_file() else None
