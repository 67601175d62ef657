"""Which paths a pack may hold. What passes here never leads out of the folder it is joined to."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

ROOTS = frozenset({"headers", "inductor", "unguarded", "vllm"})
MAX_PATH_BYTES = 1024
MAX_COMPONENT_BYTES = 255

_COMPONENT = rf"[^/\\:]{{0,{MAX_COMPONENT_BYTES - 1}}}[^/\\:. ]"
_PATH = re.compile(rf"(?:{'|'.join(sorted(ROOTS))})(?:/{_COMPONENT})+")

# Why a path is none. The first that is found is told.
_FAULTS = (
    (r"^/|//|/$", "is absolute, or has an empty component"),
    (r"(?:^|/)\.\.?(?:/|$)", "has a component '.' or '..'"),
    (r"[\\:]", "holds a backslash or a colon"),
    (r"[. ](?:/|$)", "has a component that ends in a dot or a space"),
    (r"[^/]{256}", "has a component that is too long"),
)
# In the text of all paths with slashes between them.
_FAULTY = ("//", "./", " /", "\\", ":")
_BELOW_A_ROOT = tuple(f"{root}/" for root in sorted(ROOTS))


def path_fault(path: object) -> str | None:
    """Why this is no path in a pack, or ``None`` when it is one."""
    if not isinstance(path, str):
        return "is not text"
    if not path.isprintable():  # control characters, lone surrogates, hidden direction marks
        return "holds a character that cannot be printed"
    if len(path) > MAX_PATH_BYTES:
        return "is too long"
    if not _PATH.fullmatch(path):
        outside = f"is not below one of {', '.join(sorted(ROOTS))}"
        return next((reason for form, reason in _FAULTS if re.search(form, path)), outside)
    return None if path.isascii() else _wide_fault(path)


def _wide_fault(path: str) -> str | None:
    if not unicodedata.is_normalized("NFC", path):
        return "is not normalised (NFC)"
    if any(len(part.encode()) > MAX_COMPONENT_BYTES for part in path.split("/")):
        return "has a component that is too long"
    return "is too long" if len(path.encode()) > MAX_PATH_BYTES else None


# fxgraph/<2 letters>/<key>/<entry> and aotautograd/<key>/<entry>. vLLM has a folder of
# Inductor's for every model.
_ENTRY = re.compile(
    r"((?:inductor/guarded|unguarded|vllm/(?:[^/]+/)*inductor_cache)"
    r"/(?:fxgraph/[^/]+|aotautograd)/[^/]+)/[^/]+"
)


def cache_key_of(path: str) -> str | None:
    """What the entries of one key of torch's caches share, or None for other files."""
    match = _ENTRY.fullmatch(path)
    return match[1] if match else None


def fault_of_all(paths: Sequence[object]) -> str | None:
    """Why these cannot all be files of one tree, or ``None`` when they can."""
    if set(map(type, paths)) == {str} and _are_fine(paths):  # type: ignore[arg-type]
        return None
    together = PathSet()
    for path in paths:
        if fault := together.add(path):
            return f"the path {path!r:.80} {fault}"
    return None


def _are_fine(paths: Sequence[str]) -> bool:
    """Whether they surely can, in a few passes over all; False where each needs a look."""
    if not _is_fine_text("/".join(paths)) or max(map(len, paths)) > MAX_PATH_BYTES:
        return False
    if not all(path.startswith(_BELOW_A_ROOT) for path in paths):
        return False
    for path in paths:
        if len(path) > MAX_COMPONENT_BYTES and max(map(len, path.split("/"))) > MAX_COMPONENT_BYTES:
            return False
    files = set(paths)
    folders = above = {path.rpartition("/")[0] for path in paths}
    while above:
        above = {folder.rpartition("/")[0] for folder in above} - folders
        folders = folders | above
    return len(files) == len(paths) and files.isdisjoint(folders)


def _is_fine_text(text: str) -> bool:
    return (
        text.isascii()
        and text.isprintable()
        and not any(fault in text for fault in _FAULTY)
        and not text.endswith(("/", ".", " "))
    )


class PathSet:
    """Paths that can all be files of one tree."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, path: Any) -> str | None:
        """Add a path; or say why it cannot be added, and change nothing."""
        if fault := path_fault(path):
            return fault
        if path in self._files:
            return "is named twice"
        if path in self._folders:
            return "is a folder of other paths"
        parents = self._new_folders(path)
        if not self._files.isdisjoint(parents):
            return "lies below another file"
        self._files.add(path)
        self._folders.update(parents)
        return None

    def _new_folders(self, path: str) -> list[str]:
        folders: list[str] = []
        folder = path.rpartition("/")[0]
        while folder and folder not in self._folders:
            folders.append(folder)
            folder = folder.rpartition("/")[0]
        return folders
