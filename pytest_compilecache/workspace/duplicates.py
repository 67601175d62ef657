"""Tells whether two cache entries of one key say the same. It reads opcodes and never unpickles.

Processes that compile one graph at the same time write an entry each. These
differ in what has no meaning for a reader: how long the compiler took, the
addresses of its functions, and the text of a program for repeating an error
(as pickles of torch 2.13 showed). Entries whose guards, graphs or anything else
differ are all needed. Whatever is not understood differs.
"""

from __future__ import annotations

import hashlib
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_compilecache._filesystem import read_unnoticed
from pytest_compilecache.pack.paths import cache_key_of
from pytest_compilecache.workspace.scan import WorkspaceFile

MAX_COMPARED_BYTES = 4 << 20
_MAX_COMPARED = 500
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_TIMES = frozenset(
    {"_time_taken_ns", "time_taken_ns", "forward_time_taken_ns", "backward_time_taken_ns"}
)
_INTEGERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"})
_PROGRAM = "runnable_graph_str"
_SILENT = "what says nothing"
_MEMO_READS = frozenset({"BINGET", "LONG_BINGET"})
_MEMO_WRITES = frozenset({"MEMOIZE", "BINPUT", "LONG_BINPUT"})


class Entries:
    """The cache entries of a workspace, by what they say.

    Args:
        files: The files of the workspace by their path.
    """

    def __init__(self, files: Mapping[str, WorkspaceFile]) -> None:
        self._files = files
        self._of_key: dict[str, list[tuple[str, Path]]] | None = None
        self._meanings: dict[str, bytes | None] = {}
        self._left = _MAX_COMPARED

    def add(self, path: str, location: Path) -> None:
        """Add a file, which is ignored unless it is an entry."""
        key = cache_key_of(path)
        if key is not None:
            self._by_key().setdefault(key, []).append((path, location))

    def has_siblings(self, path: str) -> bool:
        """Whether there are other entries of the same key."""
        key = cache_key_of(path)
        others = self._by_key().get(key, ()) if key is not None else ()
        return any(other != path for other, _ in others)

    def _by_key(self) -> dict[str, list[tuple[str, Path]]]:
        if self._of_key is None:  # not before it is asked for: most sessions have nothing new
            self._of_key = {}
            for path, file in self._files.items():
                key = cache_key_of(path)
                if key is not None:
                    self._of_key.setdefault(key, []).append((path, file.location))
        return self._of_key

    def twin_of(self, path: str, content: bytes) -> str | None:
        """Another entry that says the same, or None.

        Args:
            path: The entry's path.
            content: Its bytes.
        """
        said = self._meaning(path, content)
        if said is None:
            return None
        for other, location in self._by_key().get(cache_key_of(path) or "", ()):
            if other != path and self._meaning_at(other, location) == said:
                return other
        return None

    def _meaning_at(self, path: str, location: Path) -> bytes | None:
        if path in self._meanings:
            return self._meanings[path]
        try:
            if location.stat().st_size > MAX_COMPARED_BYTES:
                return None
            return self._meaning(path, read_unnoticed(location))
        except OSError:
            return None

    def _meaning(self, path: str, content: bytes) -> bytes | None:
        if path not in self._meanings:
            if self._left <= 0:  # each takes 20 ms
                return None
            self._left -= 1
            self._meanings[path] = meaning(content)
        return self._meanings[path]


def meaning(entry: bytes) -> bytes | None:
    """A digest that two entries share only when they say the same; None when it cannot be told.

    Args:
        entry: The bytes of a cache entry.
    """
    if len(entry) > MAX_COMPARED_BYTES:
        return None
    digest = hashlib.sha256()
    memo: dict[Any, Any] = {}
    last: Any = None  # what stands before a value, which may be its key
    try:
        for opcode, argument, _ in pickletools.genops(entry):
            name = opcode.name
            if name in _MEMO_WRITES:
                memo[len(memo) if argument is None else argument] = last
                digest.update(name.encode())
                continue
            value = memo.get(argument) if name in _MEMO_READS else argument
            if name == "FRAME":  # the length of what follows, which times and addresses change
                continue
            said = _SILENT if _is_noise(last, name) else f"{name} {_plain(argument)!r}"
            digest.update(said.encode("utf-8", "surrogatepass") + b"\0")
            last = value
    except Exception:  # noqa: BLE001  (pickletools raises what it likes on what is no pickle)
        return None
    return digest.digest()


def _is_noise(key: Any, opcode: str) -> bool:
    """Whether the value of this key says nothing to a reader."""
    if not isinstance(key, str):
        return False
    return (key in _TIMES and opcode in _INTEGERS) or (key == _PROGRAM and "UNICODE" in opcode)


def _plain(argument: Any) -> Any:
    return _ADDRESS.sub("0x", argument) if isinstance(argument, str) else argument
