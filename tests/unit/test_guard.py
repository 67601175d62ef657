"""An error of ours turns us off, and nothing else."""

from __future__ import annotations

import pytest

from pytest_compilecache.guard import Guard


def fail(*_: object) -> None:
    raise OSError("no space left")


def test_first_error_is_reported_with_its_hook_and_everything_is_off():
    reported: list[str] = []
    guard = Guard(lambda hook, error: reported.append(f"{hook}: {error}"))
    assert guard.call("first", int, "3") == 3
    assert guard.call("second", fail) is None
    assert guard.off
    assert guard.call("third", int, "3") is None
    assert guard.bound("fourth", fail)() is None
    assert reported == ["second: no space left"]


def test_report_that_fails_as_well_reaches_nobody():
    guard = Guard(fail)
    assert guard.call("first", fail) is None
    assert guard.off


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, pytest.fail.Exception])
def test_interrupt_and_time_limit_pass(error: type[BaseException]):
    def interrupted() -> None:
        raise error("now")

    guard = Guard(fail)
    with pytest.raises(error):
        guard.call("first", interrupted)
    assert not guard.off
