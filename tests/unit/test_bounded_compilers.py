"""No compiler that torch starts runs for ever, however torch starts it."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from pytest_compilecache.compiling.toolchain import Toolchain
from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks import cpp_compiler, names

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
ECHO = (sys.executable, "-c", "print('heard')")


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of torch's that starts compilers."""
    module = ModuleType(names.CPP_BUILDER)
    module.subprocess = subprocess  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, names.CPP_BUILDER, module)
    return module


def test_command_may_come_by_position_or_by_name(builder: ModuleType):
    patches = Patches()
    cpp_compiler.bound_compilers(patches, lambda _: 60)
    assert builder.subprocess.check_output(ECHO) == b"heard\n"
    assert builder.subprocess.check_output(args=ECHO) == b"heard\n"
    assert builder.subprocess.run(ECHO, check=True, capture_output=True).stdout == b"heard\n"
    assert builder.subprocess.STDOUT is subprocess.STDOUT
    patches.undo()
    assert builder.subprocess is subprocess


def test_command_that_hangs_ends(builder: ModuleType):
    patches = Patches()
    cpp_compiler.bound_compilers(patches, lambda command: 0.05 if "-c" in command else 60)
    with pytest.raises(subprocess.TimeoutExpired):
        builder.subprocess.check_output(args=SLEEP)
    patches.undo()


def test_bound_holds_while_something_of_ours_compiles_and_no_longer(builder: ModuleType):
    toolchain = Toolchain(0.05)
    with toolchain.bounding(), toolchain.bounding(), pytest.raises(subprocess.TimeoutExpired):
        builder.subprocess.check_output(SLEEP)
    assert builder.subprocess is subprocess


def test_compiler_that_was_slow_once_is_asked_again_and_given_its_time(
    monkeypatch: pytest.MonkeyPatch,
):
    """A machine that swapped for a moment must not turn the rest of a session eager."""
    now, slow = [0.0], [True]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def run(command: object, folder: object) -> None:
        if slow[0]:
            raise subprocess.TimeoutExpired(str(command), 30)

    toolchain = Toolchain(300, run)
    command = ("g++", "a.cpp", "-o", "a.so")
    failed = subprocess.TimeoutExpired("g++", 300)
    assert toolchain.patience(command) == 300
    assert "does not answer in 30 s" in toolchain.diagnose(failed)
    assert toolchain.patience(command) == 1
    now[0] += 31
    assert toolchain.patience(command) == 1  # asked again, and slow still
    slow[0] = False
    now[0] += 31
    assert toolchain.patience(command) == 300
    assert toolchain.diagnose(failed) == ""


def test_disk_that_was_full_once_is_looked_at_again():
    full = [True]

    def run(command: object, folder: object) -> None:
        if full[0]:
            raise subprocess.CalledProcessError(1, "g++", stderr=b"No space left on device")

    toolchain = Toolchain(300, run)
    failed = FileNotFoundError("a.o")
    assert "no space is left" in toolchain.diagnose(failed)
    full[0] = False
    assert toolchain.diagnose(failed) == ""
