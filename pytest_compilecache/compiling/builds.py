"""Counts real compiler work: torch reports a cache hit while the compiler runs for seconds.

It listens to ``subprocess.Popen`` audit events (PEP 578) and never touches a process.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

_COMPILER = re.compile(
    r"^(?:[\w.]+-)*(?:g\+\+|c\+\+|gcc|cc|clang\+\+|clang|nvcc|hipcc|icpx|icx|ptxas)(?:-[\d.]+)?(?:\.exe)?$"
)
# Preprocessing, dependencies, syntax checks, questions about the compiler.
_NO_OUTPUT = frozenset({"-E", "-M", "-MM", "-fsyntax-only", "--version", "-v", "-dumpversion"})


def built_file(arguments: Sequence[object]) -> str | None:
    """The file that a command builds, or None when it builds nothing.

    Args:
        arguments: A command line, the program first.
    """
    words = [os.fsdecode(word) if isinstance(word, bytes) else str(word) for word in arguments]
    if not words or not _COMPILER.match(PurePath(words[0]).name):
        return None
    if _NO_OUTPUT & set(words):
        return None
    for position, word in enumerate(words):
        if word == "-o" and position + 1 < len(words):
            return words[position + 1]
        if word.startswith("-o") and len(word) > len("-o"):
            return word[len("-o") :]
    return None


@dataclass(slots=True)
class BuildCounter:
    """The files that compilers were started for in this process, until they are drained."""

    active: bool = False
    _built: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _hooked: bool = False

    def start(self) -> None:
        """Listen from now on. An audit hook cannot be removed, only told to rest."""
        self.active = True
        if not self._hooked:
            sys.addaudithook(self._hear)
            self._hooked = True

    def stop(self) -> None:
        """Rest."""
        self.active = False

    def drain(self) -> tuple[str, ...]:
        """The files built since the last call."""
        with self._lock:
            built = tuple(self._built)
            self._built.clear()
        return built

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "subprocess.Popen" or not self.active:
            return
        command = arguments[1]
        if isinstance(command, (str, bytes)):
            return
        target = built_file(command)
        if target is not None:
            with self._lock:
                self._built.append(target)
