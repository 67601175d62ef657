"""The command line itself: help, and what is wrong with the words or the settings."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import Command


def test_wrong_command_line_is_exit_code_2_and_named(command: Command):
    command("lss", code=2)
    assert "No such command 'lss'" in command.errors
    command("ls", "--stor", "x", code=2)
    assert "--stor" in command.errors


def test_wrong_setting_is_exit_code_2_and_named(command: Command):
    command("load", code=2, MAX_CACHE_SIZE_MB="much")
    assert "error: MAX_CACHE_SIZE_MB: 'much' is not a whole number" in command.errors
    command("ls", code=2, B10FS_CACHE_DIR="s3://bucket/x")
    assert "s3:// is not supported" in command.errors


def test_missing_extra_is_named_with_its_remedy(command: Command, tmp_path: Path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys\nsys.modules['click'] = None\n")
    command("info", code=2, PYTHONPATH=str(blocked))
    assert "pip install 'pytest-compilecache[cli]'" in command.errors


@pytest.fixture
def listening_to_interrupts() -> Iterator[None]:
    """A shell starts what it puts into the background deaf to them, and so are its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening_to_interrupts")
def test_interrupt_is_exit_code_130(command: Command, tmp_path: Path):
    words = ("watch", "--store", tmp_path / "store", "--save", "always")
    with command.start(*words) as process:
        assert process.stderr is not None
        assert "nothing to load" in process.stderr.readline()  # and now it waits
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors.strip()) == (130, "")
