"""Tells apart a broken or missing C++ compiler, a library that does not load, and a bad kernel.

A compiler concerns the machine, however many graphs meet it. A library is left torn by a kill
while linking, a full disk or another machine's linker, and torch would fail on it in every
later run: it is set aside, and torch builds it anew, once.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_compilecache.compiling.events import CompileEvent
from pytest_compilecache.compiling.failures import EventListener, chain
from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks import cache_folders, cpp_compiler

COMPILER_SECONDS = 300.0
"""How long one C++ compilation may take before it counts as one that hangs."""

_PROGRAM = b"int main() { return 0; }\n"
_PROBE_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_IMPATIENT_SECONDS = 1.0
_HANGS_SECONDS = 30.0
_LONGEST = 200
_REMEDY = "install a C++ compiler (g++), or name one that works in CXX"
_FULL = "No space left"
_ROOM = (
    "free some space, or let TMPDIR (for the compiler) and --compilecache-dir (for the cache) "
    "name folders that have some"
)
_NO_ROOM = f"nothing can be compiled, for no space is left on the device; {_ROOM}"

Run = Callable[[Sequence[str], Path], None]
_LIBRARY = re.compile(r"(/[^\0\n:'\"]+\.(?:so|dylib))")


class Toolchain:
    """Asks the compiler to compile next to nothing when something did not compile.

    Args:
        seconds: How long a compilation may take.
        run: Runs a command in a folder, and raises as ``subprocess.run`` does.
    """

    def __init__(self, seconds: float = COMPILER_SECONDS, run: Run | None = None) -> None:
        self._seconds = seconds
        self._run = run or functools.partial(_compile_program, min(seconds, _PROBE_SECONDS))
        self._answers: dict[str, str] = {}
        self._hung_at: float | None = None
        self._bounds = 0
        self._bound = False
        self._patches = Patches()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def bounding(self) -> Iterator[None]:
        """While this is entered, no compiler that torch starts runs for ever."""
        with self._lock:
            self._bounds += 1
            if not self._bound:  # torch may have loaded what runs compilers since
                self._bound = cpp_compiler.bound_compilers(self._patches, self.patience)
        try:
            yield
        finally:
            with self._lock:
                self._bounds -= 1
                if not self._bounds:
                    self._patches.undo()
                    self._bound = False

    def patience(self, command: Sequence[object]) -> float:
        """How long a command of torch's may run, in seconds."""
        if self._hangs():
            return _IMPATIENT_SECONDS
        builds = "-o" in command or "-c" in command
        return self._seconds if builds else min(_ANSWER_SECONDS, self._seconds)

    def _hangs(self) -> bool:
        """Whether the compiler hung a moment ago, or does so still: a model has many kernels.

        A machine that was slow once is not slow for ever, so it is asked again.
        """
        if self._hung_at is None:
            return False
        if time.monotonic() - self._hung_at < _HANGS_SECONDS:
            return True
        self._hung_at = None
        return bool(self._ask(cpp_compiler.cpp_compiler()))

    def check(self) -> str:
        """What is wrong with the compiler, with the remedy, or empty."""
        return self._ask(cpp_compiler.cpp_compiler())

    def diagnose(self, error: BaseException) -> str:
        """What is wrong with the compiler, with the remedy; empty when it is not to blame."""
        if any(_no_room(each) for each in chain(error)):
            return _NO_ROOM
        if not any(cpp_compiler.is_compiler_failure(each) for each in chain(error)):
            return ""
        name = cpp_compiler.cpp_compiler()
        with self._lock:
            known = self._answers.get(name)
            if known is None:
                known = self._ask(name)
                # A full disk or a slow machine passes: that is asked again.
                if self._is_lasting(known):
                    self._answers[name] = known
            return known

    def _is_lasting(self, answer: str) -> bool:
        return _ROOM not in answer and self._hung_at is None

    def _ask(self, name: str) -> str:
        try:
            with tempfile.TemporaryDirectory(prefix="compilecache-") as folder:
                self._run((*name.split(), "-x", "c++", "-c", "-o", "probe.o", "-"), Path(folder))
        except FileNotFoundError:
            return f"the C++ compiler {name!r} does not exist; {_REMEDY}"
        except subprocess.TimeoutExpired as error:
            self._hung_at = time.monotonic()
            return f"the C++ compiler {name!r} does not answer in {error.timeout:.0f} s; {_REMEDY}"
        except subprocess.CalledProcessError as error:
            said = " ".join((error.stderr or b"").decode(errors="replace").split())[:_LONGEST]
            return _status(name, error.returncode, said)
        except OSError as error:
            return _unusable(name, error)
        return ""


def _status(name: str, code: int, said: str) -> str:
    if _FULL in said:
        return _NO_ROOM
    status = f"exits with {code}" + (f" ({said})" if said else "")
    return f"the C++ compiler {name!r} {status} on an empty program; {_REMEDY}"


def _unusable(name: str, error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES}:
        return f"nothing can be compiled: {error.strerror}: {error.filename}; {_ROOM}"
    return f"the C++ compiler {name!r} cannot run: {error.strerror or error}; {_REMEDY}"


def _no_room(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return _FULL in cpp_compiler.compiler_output(error)


def _compile_program(seconds: float, command: Sequence[str], folder: Path) -> None:
    subprocess.run(  # noqa: S603  (the compiler that torch runs)
        command, cwd=folder, input=_PROGRAM, capture_output=True, timeout=seconds, check=True
    )


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
    folders = [Path(folder) for folder in cache_folders.artifact_folders()]
    inside = any(library.is_relative_to(folder) for folder in folders)
    return library if inside and library.is_file() else None
