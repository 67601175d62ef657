"""No compiler that torch starts runs for ever, however torch starts it."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from pytest_compilecache.compiling import private

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
ECHO = (sys.executable, "-c", "print('heard')")


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of torch's that starts compilers."""
    module = ModuleType(private.CPP_BUILDER)
    module.subprocess = subprocess  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, private.CPP_BUILDER, module)
    return module


def test_command_may_come_by_position_or_by_name(builder: ModuleType):
    undo = private.bound_compilers(lambda _: 60)
    assert builder.subprocess.check_output(ECHO) == b"heard\n"
    assert builder.subprocess.check_output(args=ECHO) == b"heard\n"
    assert builder.subprocess.run(ECHO, check=True, capture_output=True).stdout == b"heard\n"
    assert builder.subprocess.STDOUT is subprocess.STDOUT
    undo()
    assert builder.subprocess is subprocess


def test_command_that_hangs_ends(builder: ModuleType):
    private.bound_compilers(lambda command: 0.05 if "-c" in command else 60)
    with pytest.raises(subprocess.TimeoutExpired):
        builder.subprocess.check_output(args=SLEEP)
