"""Long work shows on a terminal that it goes on, and leaves nothing of that behind or in a pipe."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest

from tests.e2e.command import Command, fill


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h", "b.h")
    return store


def on_terminal(command: Command, *words: str) -> tuple[str, str]:
    """What it shows on a terminal, to which standard error leads, and its standard output."""
    here, there = pty.openpty()
    with command.start(*words, TERM="xterm", stderr=there) as process:
        os.close(there)
        seen = b""
        while chunk := _read(here):
            seen += chunk
        out = process.stdout.read() if process.stdout else ""
    os.close(here)
    assert process.returncode == 0, seen
    return seen.decode(), out


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's way to say that nobody has the other end open
        return b""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("load",), "loading"),
        (("save",), "saving"),
        (("check",), "checking"),
        (("prune",), "pruning"),
        (("merge", "all"), "merging"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_long_work_is_shown_on_a_terminal_and_erased(
    words: tuple[str, ...], told: str, command: Command, filled: Path, tmp_path: Path
):
    words = tuple(word.replace("all", str(tmp_path / "all")) for word in words)
    place = (str(filled),) if words[0] == "merge" else ("--store", str(filled))
    seen, out = on_terminal(command, *words, *place)
    assert told in seen
    assert seen.rstrip().endswith("\x1b[2K")  # the line was erased
    assert told not in out
    assert "\x1b" not in out
