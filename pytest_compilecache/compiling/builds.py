"""Counts real compiler work: torch reports a cache hit while the compiler runs for seconds.

It listens to ``subprocess.Popen`` audit events (PEP 578) and never touches a process.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from pytest_compilecache import audit_hook

_COMPILER = re.compile(
    r"^(?:[\w.]+-)*(?:g\+\+|c\+\+|gcc|cc|clang\+\+|clang|nvcc|hipcc|icpx|icx|ptxas)(?:-[\d.]+)?(?:\.exe)?$"
)
# Preprocessing, dependencies, syntax checks, questions about the compiler.
_NO_OUTPUT = frozenset({"-E", "-M", "-MM", "-fsyntax-only", "--version", "-v", "-dumpversion"})


def built_file(arguments: Sequence[object], folders: Sequence[str] = ()) -> str | None:
    """The file that a command builds for torch or Triton, or None when it builds nothing.

    Args:
        arguments: A command line, the program first.
        folders: Where torch keeps artifacts. What is written there was built for
            it, whatever the compiler is called; what a test's own compilers
            build elsewhere is not.
    """
    words = [os.fsdecode(word) if isinstance(word, bytes) else str(word) for word in arguments]
    target = _target(words)
    if target is None or _NO_OUTPUT & set(words):
        return None
    if any(target.startswith(folder) for folder in folders):
        return target
    is_compiler = _COMPILER.match(PurePath(words[0]).name)
    return target if is_compiler and any("triton" in word for word in words) else None


def _target(words: Sequence[str]) -> str | None:
    for position, word in enumerate(words):
        if word == "-o" and position + 1 < len(words):
            return words[position + 1]
        if word.startswith("-o") and len(word) > len("-o"):
            return word[len("-o") :]
    return None


def _as_it_is(_: str, function: Callable[..., None]) -> Callable[..., None]:
    return function


@dataclass(slots=True)
class BuildCounter:
    """The files that compilers were started for in this process, until they are drained.

    Attributes:
        folders: Where torch keeps artifacts, asked at each build: a test may change it.
        guarded: Keeps an error of ours out of the process that is started, by its hook's name.
    """

    folders: Callable[[], Sequence[str]]
    guarded: Callable[[str, Callable[..., None]], Callable[..., None]] = _as_it_is
    _built: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: Callable[[], None] | None = None

    def start(self) -> None:
        """Listen from now on."""
        if self._stop is None:
            hear = self.guarded("subprocess.Popen", self._hear)
            self._stop = audit_hook.listen(hear, "subprocess.Popen")

    def stop(self) -> None:
        """Rest."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def drain(self) -> tuple[str, ...]:
        """The files built since the last call."""
        with self._lock:
            built = tuple(self._built)
            self._built.clear()
        return built

    def _hear(self, _event: str, arguments: tuple[Any, ...]) -> None:
        command = arguments[1]
        if isinstance(command, (str, bytes)):
            return
        target = built_file(command, self.folders())
        if target is not None:
            with self._lock:
                self._built.append(target)
