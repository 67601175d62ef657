"""The command ``compilecache`` as a process, and small stores for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from pytest_compilecache.cache import save
from pytest_compilecache.environment import Environment
from pytest_compilecache.workspace.place import Workspace

ENVIRONMENT = Environment({"torch": "1.0"})  # which no machine of the tests has


class Command:
    """The command, on a machine of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.work = root / "home", root / "work"
        for folder in (self.home, self.work):
            folder.mkdir(mode=0o700)
        self.variables = {"LOCAL_WORK_DIR": str(self.work)}

    def start(
        self,
        *words: object,
        stdout: int | IO[str] = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        **variables: str,
    ) -> subprocess.Popen[str]:
        """Start it."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.work),
            "LOGNAME": "somebody",  # as torch names its folder
            "COLUMNS": "80",  # for help; a pipe has no width
            **self.variables,
            **variables,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "pytest_compilecache", *map(str, words)],
            env=environ,
            cwd=Path(__file__).parents[2],
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def __call__(self, *words: object, code: int = 0, **variables: str) -> str:
        """Run it to its end, which must be this one."""
        with self.start(*words, **variables) as process:
            out, self.errors = process.communicate()
        assert process.returncode == code, out + self.errors
        assert "Traceback" not in self.errors
        return out

    def json(self, *words: object, code: int = 0, **variables: str) -> Any:
        """What it prints for a program."""
        name, *others = words
        return json.loads(self(name, "--json", *others, code=code, **variables))


def fill(store: Path, workspace: Path, *names: str) -> None:
    """Save a pack of artifacts that are only bytes."""
    place = Workspace(workspace, workspace / "inductor", workspace / "headers")
    place.prepare(ENVIRONMENT.id)
    (place.inductor / "ab").mkdir(exist_ok=True)
    for name in names:
        (place.inductor / "ab" / name).write_bytes(name.encode() * 100)
    assert save(place, ENVIRONMENT, str(store)).files == len(names)


def damage(store: Path) -> Path:
    """Flip a byte in the middle of a pack."""
    (pack,) = store.rglob("*.pack")
    content = bytearray(pack.read_bytes())
    content[40] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    return pack
