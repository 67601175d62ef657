"""Shell completion of the command, as its pages tell how to switch it on."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_reference import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH with the command, as an installation makes it."""
    program = tmp_path / "programs" / "compilecache"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pytest_compilecache "$@"\n'
    )
    program.chmod(0o700)
    return program.parent


def run(words: list[str], programs: Path, **variables: str) -> str:
    environ = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(programs),
        "PYTHONPATH": str(PAGE.parents[1]),
        **variables,
    }
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout


def switched_on(shell: str) -> str:
    """The line that the page tells to put into the shell's start-up file."""
    (line,) = re.findall(rf'^eval .*{shell}_source compilecache\)"', PAGE.read_text(), re.MULTILINE)
    return line


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ([""], COMMANDS),
        (["l"], ["ls", "load"]),
        (["prune", "--m"], ["--max-mb"]),
        (["run", "--save", "al"], ["always"]),
    ],
)
def test_bash_completes_commands_options_and_choices(
    typed: list[str], offered: list[str], programs: Path
):
    words = " ".join(shlex.quote(word) for word in ("compilecache", *typed))
    script = f"""
        {switched_on("bash")}
        COMP_WORDS=({words}) COMP_CWORD={len(typed)}
        "$(complete -p compilecache | sed 's/.*-F \\([^ ]*\\).*/\\1/')" compilecache
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert run(["bash", "-c", script], programs).split() == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_given_a_script_and_commands(shell: str, programs: Path):
    assert f"_COMPILECACHE_COMPLETE={shell}_source compilecache" in PAGE.read_text()
    script = run(["compilecache"], programs, _COMPILECACHE_COMPLETE=f"{shell}_source")
    assert f"_COMPILECACHE_COMPLETE={shell}_complete" in script
    typed = {"zsh": "compilecache ", "fish": "compilecache"}[shell]
    current = {"zsh": "1", "fish": ""}[shell]
    told = run(
        ["compilecache"],
        programs,
        _COMPILECACHE_COMPLETE=f"{shell}_complete",
        COMP_WORDS=typed,
        COMP_CWORD=current,
    )
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", told)
