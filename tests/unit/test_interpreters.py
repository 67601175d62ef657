from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from pytest_compilecache.server.interpreters import foreign_python


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A Python of another installation."""
    return program(tmp_path / "other" / "bin" / "python3.11", "")


def program(location: Path, text: str) -> Path:
    location.parent.mkdir(parents=True, exist_ok=True)
    location.write_text(text)
    location.chmod(0o755)
    return location


@pytest.mark.parametrize("line", ["#!{python}", "#!{python} -I", "#!/usr/bin/env {name}"])
def test_script_of_another_installation_is_told(line: str, other: Path, tmp_path: Path):
    first = line.format(python=other, name=other.name)
    script = program(tmp_path / "serve", f"{first}\nimport torch\n")
    assert foreign_python(str(script), {"PATH": f"{other.parent}:/usr/bin"}) == str(other)


def test_another_python_itself_is_told(other: Path):
    assert foreign_python(other.name, {"PATH": str(other.parent)}) == str(other)


def test_our_python_and_its_scripts_are_ours(tmp_path: Path):
    script = program(tmp_path / "serve", f"#!{sys.executable}\n")
    environ = {"PATH": os.environ["PATH"]}
    assert foreign_python(sys.executable, environ) is None
    assert foreign_python(str(script), environ) is None


@pytest.mark.parametrize("text", ["#!/bin/sh\nexec python3\n", "\x7fELF", ""])
def test_what_cannot_be_told_is_not_refused(text: str, tmp_path: Path):
    script = program(tmp_path / "serve", text)
    assert foreign_python(str(script), {"PATH": "/bin"}) is None
    assert foreign_python(str(tmp_path / "absent"), {"PATH": "/bin"}) is None
