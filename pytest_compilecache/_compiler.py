"""Which C++ compiler torch would run, named by what the compiler says of itself.

A compiler's path is never part of its name, and one that does not answer is
never taken for another machine's.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_SECONDS = 15.0
"""How long a compiler may take to say its version before it counts as unknown."""

ABSENT = "absent"

_DEFAULT_COMPILER = "clang++" if sys.platform == "darwin" else "g++"
_ELF = b"\x7fELF"
# A name in GCC's option language, which only GCC's own driver carries.
_GCC_DRIVER = b"%(cc1_options)"
_MAX_DRIVER_BYTES = 64 * 1024 * 1024
_MAX_MEMO_BYTES = 64 * 1024
_MAX_MEMO_ENTRIES = 16
_MAX_IDENTITY_LENGTH = 4096


def identify_compiler(
    environ: Mapping[str, str], *, hostname: str, memo: Path | None = None
) -> str:
    """Names the C++ compiler that torch would run under these variables.

    Args:
        environ: The variables that choose it: ``CXX`` and ``PATH``.
        hostname: The machine's own name, part of the answer only where the
            compiler does not answer.
        memo: A file in a private folder that remembers answers, for GCC only:
            asking costs milliseconds at each start. It is made when missing;
            unreadable or torn, it is ignored and replaced.

    Returns:
        What ``--version`` says, shortened; ``absent``; or ``unknown compiler``
        with the reason and the machine.
    """
    if environ.get("TORCH_INDUCTOR_INSTALL_GXX"):
        return _unknown("g++", "torch installs it through conda", hostname)
    name = environ.get("CXX", _DEFAULT_COMPILER)
    program = _find(name, environ)
    if program is None:
        return ABSENT
    try:
        return _remembered(program, environ, memo)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _unknown(program.name, reason, hostname)


def _unknown(name: str, reason: str, hostname: str) -> str:
    return f"unknown compiler {name} on {hostname}: {reason}"


def _find(name: str, environ: Mapping[str, str]) -> Path | None:
    if not name:
        return None
    folders = [""] if os.sep in name else os.get_exec_path(environ)
    candidates = (Path(folder, name) for folder in folders)
    # Path.is_file raises in a folder that this user cannot enter.
    found = (path for path in candidates if os.path.isfile(path) and os.access(path, os.X_OK))  # noqa: PTH113
    return next(found, None)


def _remembered(program: Path, environ: Mapping[str, str], memo: Path | None) -> str:
    fingerprint = _fingerprint(program) if memo else None
    if memo is None or fingerprint is None:
        return _identity(_version(program, environ))
    answers = _recall(memo)
    if fingerprint in answers:
        return answers[fingerprint]
    identity = _identity(_version(program, environ))
    # Replaced while it ran, the file would lend its name to the other's answer.
    if _is_gcc_driver(program) and _fingerprint(program) == fingerprint:
        _remember(memo, {**answers, fingerprint: identity})
    return identity


def _fingerprint(program: Path) -> str | None:
    """Tells one state of an executable file from every other; nothing for a script."""
    try:
        real = program.resolve()
        with real.open("rb") as executable:
            is_binary = executable.read(len(_ELF)) == _ELF
            found = os.fstat(executable.fileno())
    except OSError:
        return None  # what may be run but not read is asked each time
    if not is_binary:
        return None
    # The change time as well, because installers set the modification time as
    # they like; the name as well, because one file can play several programs.
    return (
        f"{program.name} {real} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} "
        f"{found.st_ino}"
    )


def _is_gcc_driver(program: Path) -> bool:
    # A wrapper's target changes without the wrapper: ccache is an ELF file
    # that is called g++, too, and clang's version lives in a shared library.
    # Only a driver that holds its own version may be believed from memory.
    try:
        small = program.stat().st_size <= _MAX_DRIVER_BYTES
        return small and _GCC_DRIVER in program.read_bytes()
    except OSError:
        return False


def _version(program: Path, environ: Mapping[str, str]) -> str:
    import signal  # noqa: PLC0415  both late: a remembered answer needs neither
    import subprocess  # noqa: PLC0415

    with subprocess.Popen(  # noqa: S603  the program that torch itself runs
        [program, "--version"],
        env={**environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"no answer in {TIMEOUT_SECONDS:g} s") from error
        finally:
            # The group, because a wrapper's child would live on and hold the pipe.
            # Before the wait: a process that was waited for lends its number on.
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise ValueError(f"--version failed with status {process.returncode}")
    return output.decode("utf-8", "replace")


def _identity(version: str) -> str:
    lines = [line.strip() for line in version.splitlines() if line.strip()]
    if not lines:
        raise ValueError("--version says nothing")
    if any("Free Software Foundation" in line for line in lines):
        # GCC's first line begins with the name that it was called by: g++-12
        # and c++ are g++. A name with a target in it stays, it may be a cross compiler.
        return re.sub(r"^[gc]\+\+(-[\d.]+)?(?= )", "g++", lines[0])
    # Clang says where it is installed, too, which is nobody's business.
    return " | ".join(line for line in lines if not line.startswith("InstalledDir:"))


def _recall(memo: Path) -> dict[str, str]:
    try:
        # Neither a link nor a pipe put in its place may lead or hold us.
        descriptor = os.open(memo, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:  # noqa: PTH123  it is open already
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                return {}
            answers = json.loads(file.read(_MAX_MEMO_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(answers, dict):
        return {}
    return {mark: answer for mark, answer in answers.items() if _is_identity(answer)}


def _is_identity(answer: object) -> bool:
    return (
        isinstance(answer, str) and 0 < len(answer) <= _MAX_IDENTITY_LENGTH and answer.isprintable()
    )


def _remember(memo: Path, answers: Mapping[str, str]) -> None:
    newest = dict(list(answers.items())[-_MAX_MEMO_ENTRIES:])
    temporary = memo.with_name(f".{memo.name}.{os.urandom(6).hex()}")
    with suppress(OSError):  # a memo that cannot be written costs milliseconds
        try:
            with temporary.open("x", encoding="utf-8") as file:
                json.dump(newest, file, indent=1)
            temporary.replace(memo)
        finally:
            temporary.unlink(missing_ok=True)
