"""Which Python runs a command. The environment that we detect is that of our own Python only."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

_PYTHON = re.compile(r"python[0-9.]*t?")
_MAX_FIRST_LINE = 512


def foreign_python(command: str, environ: Mapping[str, str]) -> str | None:
    """The Python of another installation that would run a command; None for ours, or none.

    For a program that is no Python script, and a script that starts Python itself, it is unknown.

    Args:
        command: Its first word.
        environ: Its variables.
    """
    program = shutil.which(command, path=environ.get("PATH"))
    interpreter = program and _interpreter(Path(program), environ)
    if not interpreter or _same(Path(interpreter)):
        return None
    return interpreter


def _interpreter(program: Path, environ: Mapping[str, str]) -> str | None:
    if _PYTHON.fullmatch(program.name):
        return str(program)
    try:
        with program.open("rb") as file:
            line = file.readline(_MAX_FIRST_LINE)
    except OSError:
        return None
    words = line[2:].decode(errors="replace").split() if line.startswith(b"#!") else []
    names = [word for word in words if _PYTHON.fullmatch(word.rpartition("/")[2])]
    return shutil.which(names[0], path=environ.get("PATH")) if names else None


def _same(interpreter: Path) -> bool:
    """Whether an interpreter has our packages: its installation's folder is ours."""
    # Only the folder is resolved (/bin may be /usr/bin): in a virtual environment the
    # interpreter itself is a link to the outside.
    try:
        return interpreter.parent.resolve().parent.samefile(sys.prefix)
    except OSError:
        return False
