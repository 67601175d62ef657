"""Backends that compare equal, and errors that are no failure to compile."""

from __future__ import annotations

import gc
import weakref

import filelock
import pytest

from pytest_compilecache.compiling.events import EventSink
from pytest_compilecache.compiling.failures import Fallbacks, must_pass, one_line
from pytest_compilecache.compiling.fallback import FallbackBackend, ForeignBackend, GraphCompiler
from pytest_compilecache.compiling.options import CompileOptions

pytest.importorskip("torch")


def graphs(identity: object = None) -> GraphCompiler:
    return GraphCompiler(Fallbacks(EventSink(), identity=identity))


def test_backends_are_equal_for_equal_options_whatever_their_sink():
    one, other = (FallbackBackend({"max_autotune": True}, graphs()) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != FallbackBackend({}, graphs())
    foreign = ForeignBackend("aot_eager", {}, graphs())
    assert foreign == ForeignBackend("aot_eager", {}, graphs())
    assert foreign != ForeignBackend("eager", {}, graphs())
    assert foreign != one


def test_backends_of_callers_who_want_to_know_apart_are_not_equal():
    assert FallbackBackend({}, graphs("mine")) != FallbackBackend({}, graphs("yours"))
    assert ForeignBackend("eager", {}, graphs("mine")) == ForeignBackend(
        "eager", {}, graphs("mine")
    )


def test_backend_has_the_name_by_which_torch_calls_it():
    def mine(graph: object, inputs: object) -> object:
        return graph

    named = [ForeignBackend(backend, {}, graphs()) for backend in ("aot_eager", mine)]
    assert [backend.__name__ for backend in named] == ["aot_eager", "mine"]


def test_what_was_told_keeps_nothing_alive_that_its_error_holds():
    class Held:
        pass

    fallbacks, held = Fallbacks(EventSink()), Held()
    alive = weakref.ref(held)
    fallbacks.failed(RuntimeError(held))
    del held
    gc.collect()
    assert alive() is None


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
    assert must_pass(error)
    assert must_pass(wrapped)


def test_failure_to_compile_does_not_pass():
    assert not must_pass(RuntimeError("no such lowering"))
    assert not must_pass(filelock.Timeout("a lock of torch's own"))


def test_error_is_told_on_one_line_of_bearable_length():
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x " * 5000))) < 450
