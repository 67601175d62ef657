"""A machine for end-to-end tests: a HOME, a TMPDIR and a compiler, thrown away at will."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_CLEAN = re.compile(
    r"^(COMPILECACHE_|TORCHINDUCTOR_|TORCH_|TRITON_|PYTEST_|GITHUB_|GITLAB_|CI$|CI_|CXX$|OMP_|"
    r"ATEN_CPU_CAPABILITY$|XDG_|COV_|PYTHONPATH$|__TOX_ENVIRONMENT_VARIABLE_ORIGINAL_CI$)"
)

# Torch names its precompiled header .pch unless the compiler is called g++.
SHIM = f"""\
#!/bin/sh
exec {sys.executable} -IS {Path(__file__).with_name("compiler.py")} "$@"
"""


def install_compiler(folder: Path) -> None:
    """Put the logging ``g++`` into a folder of programs."""
    shim = folder / "g++"
    shim.write_text(SHIM)
    shim.chmod(shim.stat().st_mode | stat.S_IEXEC)


def compiler_variables(root: Path, log: Path) -> dict[str, str]:
    """What the ``g++`` of a machine has to know."""
    real = shutil.which("g++") or "g++"
    return {"SHIM_LOG": str(log), "SHIM_ROOT": str(root), "SHIM_REAL": real}


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    code: int
    out: str
    built: tuple[str, ...]

    def line(self, pattern: str) -> re.Match[str]:
        """The one line that matches."""
        matches = [found for text in self.out.splitlines() if (found := re.search(pattern, text))]
        assert len(matches) == 1, f"{pattern!r} matches {len(matches)} lines of:\n{self.out}"
        return matches[0]


@dataclass
class Machine:
    """A place with its own home, temporary folder and logging compiler."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.home = self.root / "home"
        self.tmp = self.root / "tmp"
        self.log = self.root / "built.log"
        self.bin = self.root / "bin"
        self.start_over()
        self.bin.mkdir(parents=True, exist_ok=True)
        install_compiler(self.bin)

    def start_over(self) -> None:
        """Delete everything that a session left on this machine."""
        for folder in (self.home, self.tmp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The variables of a command on this machine."""
        kept = {key: value for key, value in os.environ.items() if not _CLEAN.match(key)}
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "PATH": f"{self.bin}{os.pathsep}{kept['PATH']}",
            **compiler_variables(self.root, self.log),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.variables,
            **(extra or {}),
        }

    def run(self, *command: str, cwd: Path, env: Mapping[str, str] | None = None) -> Run:
        """Run a command to its end."""
        self.log.write_text("")
        done = subprocess.run(
            (*self.prefix, *command),
            cwd=cwd,
            env=self.environ(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        return Run(done.returncode, done.stdout, tuple(self.log.read_text().splitlines()))

    def pytest(self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Run:
        """Run pytest to its end."""
        alone = ("-p", "no:cacheprovider", "-p", "no:randomly")
        return self.run(sys.executable, "-m", "pytest", *alone, *arguments, cwd=cwd, env=env)

    def python(self, code: str, *, cwd: Path, env: Mapping[str, str] | None = None) -> Run:
        """Run a program to its end."""
        return self.run(sys.executable, "-c", textwrap.dedent(code), cwd=cwd, env=env)

    def workspace_files(self, pattern: str) -> list[Path]:
        """Files in this machine's workspaces."""
        return sorted((self.home / ".cache" / "compilecache").rglob(pattern))


def write_project(folder: Path, **files: str) -> Path:
    """Write test files, each named without its suffix, and an empty configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder
