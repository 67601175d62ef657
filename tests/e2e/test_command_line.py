"""The command line itself: help, and what is wrong with the words or the settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import Command, damage, fill

ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.parametrize("broken", [False, True])
def test_exit_code_is_as_ever_when_the_reader_has_enough(
    command: Command, tmp_path: Path, options: tuple[str, ...], broken: bool
):
    """As of ``| head -1``, which pipefail would report."""
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h")
    if broken:
        damage(store)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as stdout:
        process = command.start("check", "--store", store, *options, stdout=stdout)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (int(broken), "")


def test_full_disk_under_the_output_is_told_on_one_line(command: Command, tmp_path: Path):
    for options in ((), ("--json",)):
        with Path("/dev/full").open("w") as full:
            words = ("key", "--store", tmp_path / "store", *options)
            process = command.start(*words, stdout=full)
            _, errors = process.communicate()
        assert process.returncode == 1
        assert errors.splitlines() == ["error: [Errno 28] No space left on device"]


def test_closed_streams_keep_no_command_from_its_work(command: Command, tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    fill(source, tmp_path / "w", "a.h")
    script = f'exec "$@" {" ".join(f"{number}>&-" for number in range(3))}'
    words = (sys.executable, "-m", "pytest_compilecache", "merge", str(target), str(source))
    done = subprocess.run(["sh", "-c", script, "sh", *words], cwd=ROOT, check=False)
    assert done.returncode == 0
    assert len(list(target.rglob("*.pack"))) == 1


def test_what_the_output_cannot_spell_is_escaped(command: Command, tmp_path: Path):
    store = tmp_path / os.fsdecode(b"no code \xff \n in \xc3\xbc")
    fill(store, tmp_path / "w", "a.h")
    for encoding in ("ascii", "latin-1", "utf-8:strict"):
        spoken = {"PYTHONIOENCODING": encoding}
        command("check", "--store", store, **spoken)
        command("merge", tmp_path / "target", store, **spoken)
        facts = command.json("info", "--store", store, **spoken)
        assert os.fsencode(facts["store"]["place"]) == os.fsencode(store)
        assert facts["store"]["files"] == 1


def test_interrupt_is_exit_code_130(command: Command, tmp_path: Path):
    words = ("watch", "--store", tmp_path / "store", "--save", "always")
    with command.start(*words) as process:
        assert process.stderr is not None
        assert "nothing to load" in process.stderr.readline()  # and now it waits
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert (process.returncode, errors.strip()) == (130, "")
