"""Backends that compare equal, and errors that are no failure to compile."""

from __future__ import annotations

import filelock
import pytest

from pytest_compilecache.compiling.backend import (
    FallbackBackend,
    ForeignBackend,
    _must_pass,
    one_line,
)
from pytest_compilecache.compiling.events import EventSink
from pytest_compilecache.compiling.options import CompileOptions

pytest.importorskip("torch")


def test_backends_are_equal_for_equal_options_whatever_their_sink():
    one, other = (FallbackBackend({"max_autotune": True}, EventSink()) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != FallbackBackend({}, EventSink())
    foreign = ForeignBackend("aot_eager", {}, EventSink())
    assert foreign == ForeignBackend("aot_eager", {}, EventSink())
    assert foreign != ForeignBackend("eager", {}, EventSink())
    assert foreign != one


def test_mode_and_options_together_are_refused_wherever_they_meet():
    with pytest.raises(ValueError, match="either mode or options"):
        CompileOptions(mode="default", options={"max_autotune": True})


@pytest.mark.parametrize(
    "error",
    [MemoryError(), TimeoutError("alarm"), DeprecationWarning("made an error by -W error")],
)
def test_what_is_no_failure_to_compile_passes_also_where_torch_wrapped_it(error: Exception):
    wrapped = RuntimeError("InductorError")
    wrapped.__cause__ = error
    assert _must_pass(error)
    assert _must_pass(wrapped)


def test_failure_to_compile_does_not_pass():
    assert not _must_pass(RuntimeError("no such lowering"))
    assert not _must_pass(filelock.Timeout("a lock of torch's own"))


def test_error_is_told_on_one_line_of_bearable_length():
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 5000))) < 400
