"""What Dynamo itself cannot compile: told, and answered by running that frame eager.

It acts within calls of functions that are compiled with fallback; of others it tells
what Dynamo skips, and hands a breakdown of Dynamo's to a judge, where there is one. A
frame that did not compile has not run, so running it eager applies its effects once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import CompileEvent, EventSink, shortened
from pytest_compilecache.compiling.failures import interruption, must_pass, one_line

Judge = Callable[[Exception, str], object]


@dataclass(slots=True)
class Call:
    """A call of a function that is compiled with fallback.

    Attributes:
        whole: Whether it was to be one graph.
        failures: What Dynamo could not compile, each with the function concerned.
        left_eager: Functions that Dynamo runs eager from now on by its own decision, each
            with its reason.
    """

    whole: bool = False
    failures: list[tuple[Exception, str]] = field(default_factory=list)
    left_eager: list[tuple[str, str]] = field(default_factory=list)


class _Thread(threading.local):
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.codes: list[CodeType] = []


class Frames:
    """Watches what becomes of the frames that Dynamo is asked to compile.

    Args:
        sink: Takes events of what Dynamo skips.
        judge: Told, with the function concerned, when Dynamo breaks down in a call of a
            function that plain ``torch.compile`` made; raises what shall be raised.
        remember: Whether anybody will want Dynamo to forget; a server that makes
            functions for ever would otherwise keep their code for ever.

    Attributes:
        judging: Whether the judge is asked. Otherwise torch alone decides.
    """

    def __init__(
        self, sink: EventSink, judge: Judge | None = None, *, remember: bool = True
    ) -> None:
        self.judging = False
        self._sink = sink
        self._judge = judge
        self._remember = remember
        self._thread = _Thread()
        self._given_up: list[CodeType] = []
        # By identity: equal code of two functions is compiled for each.
        self._compiled: dict[int, tuple[CodeType, bool]] = {}

    @contextlib.contextmanager
    def call(self, *, whole: bool) -> Iterator[Call]:
        """Around a call of a function that is compiled with fallback."""
        call = Call(whole)
        self._thread.calls.append(call)
        try:
            yield call
        finally:
            self._thread.calls.remove(call)

    @contextlib.contextmanager
    def compiling(self, code: CodeType, *, whole: bool) -> Iterator[None]:
        """Around the compilation of a frame."""
        if self._remember:
            self._compiled[id(code)] = code, whole
        self._thread.codes.append(code)
        try:
            yield
        finally:
            self._thread.codes.pop()

    def failed(self, code: CodeType, error: Exception, *, whole: bool) -> bool:
        """A frame did not compile; whether it shall run eager instead of raising.

        Raises:
            BaseException: An alarm or memory that ran out, as itself; what the judge raises.
        """
        interrupted = interruption(error)
        if interrupted is not None and interrupted is not error:
            raise interrupted  # who waits for it would not know it under torch's wrapping
        if self.judging and self._judge is not None and self._is_for_the_judge(error, whole=whole):
            self._judge(error, private.users_place(error) or place(code))
            self.give_up(code)
            return True
        soft = private.is_soft(error) or private.is_recompile_limit(error)
        if soft and not whole:  # Dynamo runs it eager by itself, without a word
            self.give_up(code)
            if not private.is_observed(error) and not private.is_recompile_limit(error):
                self._skip(code, _reason(error))
            return False
        calls = self._thread.calls
        # What a backend raises was judged there; torch only wraps it.
        if not calls or must_pass(error) or private.is_backend_failure(error):
            if not whole and private.dynamo_setting("suppress_errors"):
                # Whoever set that wants it eager, and shall see it.
                self.give_up(code)
                event = CompileEvent("fallback", function=place(code), reason=_reason(error))
                self._sink.add(event)
            return False
        self.give_up(code)
        calls[-1].failures.append((error, private.users_place(error) or place(code)))
        return True

    def _is_for_the_judge(self, error: Exception, *, whole: bool) -> bool:
        """Whether Dynamo itself broke down, in a plain call that need not be one graph."""
        if whole or self._thread.calls or private.dynamo_setting("suppress_errors"):
            return False
        return private.is_breakdown(error) and not must_pass(error)

    def skipped(self, code: CodeType, reason: str) -> None:
        """A frame with something to compile runs eager by Dynamo's own decision."""
        self.give_up(code)
        self._skip(code, shortened(reason))

    def current(self) -> str:
        """The function that is being compiled, with its place, or empty."""
        codes = self._thread.codes
        return place(codes[-1]) if codes else ""

    def give_up(self, code: CodeType) -> None:
        """Dynamo will run it eager from now on, and not say so again."""
        if self._remember:
            self._given_up.append(code)

    def forget(self) -> None:
        """Let Dynamo try anew what it gave up: another test must not find it eager, unsaid."""
        while self._given_up:
            private.forget_code(self._given_up.pop())

    def forget_compiled(self, *, but_whole: bool = False) -> None:
        """Let Dynamo compile anew: what runs from its memory breaks no contract.

        Args:
            but_whole: Whether functions that were compiled as one graph may stay.
        """
        for key, (code, whole) in list(self._compiled.items()):
            if not (whole and but_whole):
                private.forget_code(code)
                del self._compiled[key]

    def left_eager(self, function: str, reason: str) -> None:
        """Dynamo runs a function eager from now on, of which it only logs."""
        calls = self._thread.calls
        if calls:
            calls[-1].left_eager.append((function, reason))

    def _skip(self, code: CodeType, reason: str) -> None:
        self._sink.add(CompileEvent("skip", function=place(code), reason=reason))
        self.left_eager(place(code), reason)


def _reason(error: Exception) -> str:
    where = private.users_place(error)
    return one_line(error) + (f" at {where}" if where else "")


def place(function: object) -> str:
    """A function or its code as a person would find it."""
    code = getattr(function, "__code__", function)
    if not isinstance(code, CodeType):
        return getattr(function, "__qualname__", type(function).__qualname__)
    return f"{code.co_name} ({code.co_filename}:{code.co_firstlineno})"
