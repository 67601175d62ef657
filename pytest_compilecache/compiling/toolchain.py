"""Tells a broken or missing C++ compiler from a kernel that does not compile.

The first is one trouble of the machine, however many graphs it meets.
"""

from __future__ import annotations

import errno
import functools
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.failures import chain

COMPILER_SECONDS = 300.0
"""How long one C++ compilation may take before it counts as one that hangs."""

_PROGRAM = b"int main() { return 0; }\n"
_PROBE_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_IMPATIENT_SECONDS = 1.0
_LONGEST = 200
_REMEDY = "install a C++ compiler (g++), or name one that works in CXX"
_FULL = "No space left"
_ROOM = (
    "free some space, or let TMPDIR (for the compiler) and --compilecache-dir (for the cache) "
    "name folders that have some"
)
_NO_ROOM = f"nothing can be compiled, for no space is left on the device; {_ROOM}"

Run = Callable[[Sequence[str], Path], None]


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
        self._hangs = False
        self._lock = threading.Lock()

    def patience(self, command: Sequence[object]) -> float:
        """How long a command of torch's may run, in seconds."""
        if self._hangs:  # once is enough: a model has hundreds of kernels
            return _IMPATIENT_SECONDS
        builds = "-o" in command or "-c" in command
        return self._seconds if builds else min(_ANSWER_SECONDS, self._seconds)

    def check(self) -> str:
        """What is wrong with the compiler, with the remedy, or empty."""
        return self._ask(private.cpp_compiler())

    def diagnose(self, error: BaseException) -> str:
        """What is wrong with the compiler, with the remedy; empty when it is not to blame."""
        if any(_no_room(each) for each in chain(error)):
            return _NO_ROOM
        if not any(private.is_compiler_failure(each) for each in chain(error)):
            return ""
        name = private.cpp_compiler()
        with self._lock:
            if name not in self._answers:
                self._answers[name] = self._ask(name)
            return self._answers[name]

    def _ask(self, name: str) -> str:
        try:
            with tempfile.TemporaryDirectory(prefix="compilecache-") as folder:
                self._run((*name.split(), "-x", "c++", "-c", "-o", "probe.o", "-"), Path(folder))
        except FileNotFoundError:
            return f"the C++ compiler {name!r} does not exist; {_REMEDY}"
        except subprocess.TimeoutExpired as error:
            self._hangs = True
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
    return _FULL in private.compiler_output(error)


def _compile_program(seconds: float, command: Sequence[str], folder: Path) -> None:
    subprocess.run(  # noqa: S603  (the compiler that torch runs)
        command, cwd=folder, input=_PROGRAM, capture_output=True, timeout=seconds, check=True
    )
