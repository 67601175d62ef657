"""The command ``compilecache`` as a process, and small stores for it."""

from __future__ import annotations

import atexit
import functools
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


PROJECT = Path(__file__).parents[2]


@functools.cache
def _forking() -> subprocess.Popen[str]:
    """The process that all calls of this test session are forks of."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.forking"],
        env={"PATH": os.environ["PATH"]},
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process


class Command:
    """The command, on a machine of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.work = root / "home", root / "work"
        for folder in (self.home, self.work):
            folder.mkdir(mode=0o700)
        self.variables = {"LOCAL_WORK_DIR": str(self.work)}

    def environ(self, variables: dict[str, str]) -> dict[str, str]:
        """The variables of the command."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.work),
            "LOGNAME": "somebody",  # as torch names its folder
            "COLUMNS": "80",  # for help; a pipe has no width
            **self.variables,
            **variables,
        }

    def start(
        self,
        *words: object,
        stdout: int | IO[str] = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        **variables: str,
    ) -> subprocess.Popen[str]:
        """Start it as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pytest_compilecache", *map(str, words)],
            env=self.environ(variables),
            cwd=PROJECT,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def __call__(self, *words: object, code: int = 0, **variables: str) -> str:
        """Run it to its end, which must be this one."""
        if any(name.startswith("PYTHON") for name in variables):
            with self.start(*words, **variables) as process:
                out, self.errors = process.communicate()
            ended = process.returncode
        else:
            ended, out = self._fork(*map(str, words), **variables)
        assert ended == code, out + self.errors
        assert "Traceback" not in self.errors
        return out

    def _fork(self, *words: str, **variables: str) -> tuple[int, str]:
        places = {name: str(self.root / name) for name in ("out", "err")}
        call = {"words": words, "environ": self.environ(variables), **places}
        forking = _forking()
        assert forking.stdin is not None
        assert forking.stdout is not None
        forking.stdin.write(json.dumps(call) + "\n")
        forking.stdin.flush()
        ended = int(forking.stdout.readline())
        out, self.errors = (Path(place).read_text() for place in places.values())
        for place in places.values():
            Path(place).unlink()
        return ended, out

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


# In the process that doctor asks torch in, an empty torch: it does not say what it picks.
_EMPTY_TORCH = """
import sys, types
if "pytest_compilecache.doctor.ask_torch" in sys.orig_argv:
    for name in ("torch", "torch._inductor", "torch._inductor.codecache",
                 "torch._inductor.cpu_vec_isa"):
        sys.modules[name] = types.ModuleType(name)
"""


def without_torch(root: Path) -> dict[str, str]:
    """Variables with which ``doctor`` spends no time on torch's probes."""
    folder = root / "empty-torch"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_EMPTY_TORCH)
    return {"PYTHONPATH": str(folder)}
