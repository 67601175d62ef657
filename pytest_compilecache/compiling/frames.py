"""What Dynamo itself cannot compile: reported, and answered eager where that was asked for.

A plain call keeps torch's answer. Within calls of functions that our mark or fixtures
compile, a frame that Dynamo cannot compile runs eager; it has not run before, so its
effects come once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import CodeType

from pytest_compilecache.compiling.events import CompileEvent, EventKind, shortened
from pytest_compilecache.compiling.failures import (
    EventListener,
    interruption,
    must_pass,
    one_line,
)
from pytest_compilecache.torchhooks import frames, isolation
from pytest_compilecache.torchhooks.names import dynamo_setting

Judge = Callable[[Exception, str], object]


@dataclass(slots=True)
class Call:
    """A call of a function that is compiled with fallback.

    Attributes:
        whole: Whether it was to be one graph.
        lenient: Whether it runs eager even so where it is not one.
        failures: What Dynamo could not compile, each with the function concerned.
        left_eager: Functions that Dynamo runs eager from now on by its own decision, each
            with its reason.
    """

    whole: bool = False
    lenient: bool = False
    failures: list[tuple[Exception, str]] = field(default_factory=list)
    left_eager: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A function that Dynamo runs eager from now on and does not report again.

    Attributes:
        code: Its code.
        kind: The kind of the event that reports it.
        reason: Why.
        test: The test in which that was decided.
    """

    code: CodeType
    kind: EventKind
    reason: str
    test: object


class _Thread(threading.local):
    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.codes: list[CodeType] = []


class Frames:
    """Watches what becomes of the frames that Dynamo is asked to compile.

    Args:
        listener: Takes events of what Dynamo skips.
        judge: For the running test, what is asked, with the function concerned, when Dynamo
            breaks down in a plain call; None where torch alone decides. It raises what
            shall be raised.
        remember: Whether what Dynamo decided may have to be forgotten; a server that makes
            functions for ever would otherwise keep their code for ever.

        test: The test that runs now.
    """

    def __init__(
        self,
        listener: EventListener,
        judge: Callable[[], Judge | None] = lambda: None,
        remember: Callable[[], bool] = lambda: False,
        test: Callable[[], object] = lambda: None,
    ) -> None:
        # All by identity: equal code of two functions is compiled for each.
        self._given_up: dict[int, GivenUp] = {}
        self._test = test
        self._changed: list[CodeType] = []
        self._listener = listener
        self._judge = judge
        self._remember = remember
        self._thread = _Thread()
        self._compiled: dict[int, tuple[CodeType, bool]] = {}
        self._compiles: dict[int, tuple[CodeType, int]] = {}

    @contextlib.contextmanager
    def call(self, *, whole: bool, lenient: bool = False) -> Iterator[Call]:
        """Around a call of a function that is compiled with fallback."""
        call = Call(whole, lenient)
        self._thread.calls.append(call)
        try:
            yield call
        finally:
            self._thread.calls.remove(call)

    @property
    def in_call(self) -> bool:
        """Whether this thread is in such a call."""
        return bool(self._thread.calls)

    @contextlib.contextmanager
    def compiling(self, code: CodeType, *, whole: bool) -> Iterator[None]:
        """Around the compilation of a frame."""
        if self._remember():
            self._compiled[id(code)] = code, whole
            self._compiles[id(code)] = code, self._compiles.get(id(code), (code, 0))[1] + 1
        self._thread.codes.append(code)
        try:
            yield
        finally:
            self._thread.codes.pop()

    def failed(self, code: CodeType, error: Exception, *, whole: bool) -> bool | BaseException:
        """A frame did not compile; whether it shall run eager instead of raising.

        Returns:
            Whether it shall, or what shall be raised instead of torch's error: in a call of
            ours, an alarm or memory that ran out, as itself; what the judge raises.
        """
        calls, judge = self._thread.calls, self._judge()
        if calls or judge is not None:
            interrupted = interruption(error)
            if interrupted is not None and interrupted is not error:
                return interrupted  # a caller that waits for it would not know it wrapped
        if judge is not None and self._is_for_the_judge(error, whole=whole):
            try:
                judge(error, frames.users_place(error) or place(code))
            except BaseException as verdict:  # noqa: BLE001  (a skip is none, and is meant)
                return verdict
            self._changed.append(code)
            return True
        whole_is_asked = whole and not (calls and calls[-1].lenient)
        soft = frames.is_soft(error) or frames.is_recompile_limit(error)
        if frames.is_asked_for(error) and (whole_is_asked or not whole):
            return False
        if soft and not whole:  # Dynamo runs it eager by itself, without a word
            self._note_soft(code, error)
            return False
        # What a backend raises was judged there; torch only wraps it. And as one graph it is
        # refused, which is what a person asked for.
        refused = not calls or must_pass(error) or frames.is_backend_failure(error)
        if refused or whole_is_asked:
            self._note_suppressed(code, error, whole=whole)
        else:
            self._changed.append(code)
            calls[-1].failures.append((error, frames.users_place(error) or place(code)))
        return not (refused or whole_is_asked)

    def _note_soft(self, code: CodeType, error: Exception) -> None:
        limit = frames.is_recompile_limit(error)
        if limit:
            self.give_up(code, "limit", "its recompile limit is used up")
            return
        self.give_up(code, "skip", _reason(error))
        if not frames.is_observed(error):
            self._skip(code, _reason(error))

    def _note_suppressed(self, code: CodeType, error: Exception, *, whole: bool) -> None:
        if not whole and dynamo_setting("suppress_errors"):
            # A person who set that wants it eager, and shall see it.
            self.give_up(code, "fallback", _reason(error))
            event = CompileEvent("fallback", function=place(code), reason=_reason(error))
            self._listener.add(event)

    def _is_for_the_judge(self, error: Exception, *, whole: bool) -> bool:
        """Whether Dynamo itself broke down, in a plain call that need not be one graph."""
        if whole or self._thread.calls or dynamo_setting("suppress_errors"):
            return False
        return frames.is_breakdown(error) and not must_pass(error)

    def skipped(self, code: CodeType, reason: str) -> None:
        """A frame with something to compile runs eager by Dynamo's own decision."""
        self.give_up(code, "skip", shortened(reason))
        self._skip(code, shortened(reason))

    def current(self) -> str:
        """The function that is being compiled, with its place, or empty."""
        codes = self._thread.codes
        return place(codes[-1]) if codes else ""

    def fell_back(self) -> None:
        """What is being compiled runs eager by our decision."""
        codes = self._thread.codes
        if codes and self._remember():
            self._changed.append(codes[-1])

    def give_up(self, code: CodeType, kind: EventKind, reason: str) -> None:
        """Dynamo runs it eager from now on and does not report it again."""
        if self._remember():
            self._given_up.setdefault(id(code), GivenUp(code, kind, reason, self._test()))

    def given_up(self, code: CodeType) -> GivenUp | None:
        """What is known of a function that Dynamo gave up, or None."""
        return self._given_up.get(id(code))

    def try_again(self) -> None:
        """Let Dynamo try what it gave up: a test of ours must not find it eager unreported."""
        for each in self._given_up.values():
            frames.forget_code(each.code)
            isolation.revive(each.code)
        self._given_up.clear()

    def forget_all(self) -> None:
        """Hold no test any more: the last session is over.

        What Dynamo gave up runs eager in the next session of this process as well, and is
        reported there.
        """
        self.forget_changed()
        for key, each in self._given_up.items():
            self._given_up[key] = replace(each, test=None)
        self._compiled.clear()
        self._compiles.clear()

    def forget_changed(self) -> None:
        """Let Dynamo decide anew on what runs eager by our decision: the test is over."""
        while self._changed:
            frames.forget_code(self._changed.pop())

    def forget_compiled(self, *, but_whole: bool = False) -> None:
        """Let Dynamo compile anew: what runs from its memory breaks no contract.

        Args:
            but_whole: Whether functions that were compiled as one graph may stay.
        """
        for key, (code, whole) in list(self._compiled.items()):
            if not (whole and but_whole):
                frames.forget_code(code)
                del self._compiled[key]

    def begin_counting(self) -> None:
        """Count from now on how often each function is compiled."""
        self._compiles.clear()

    def forget_recompiled(self) -> None:
        """Forget what was compiled more than once since the count began.

        Such code may be for sizes that are dynamic because of what else ran; code that was
        compiled once is what any test would compile that comes first.
        """
        for code, count in self._compiles.values():
            if count > 1:
                frames.forget_code(code)
        self._compiles.clear()

    def left_eager(self, function: str, reason: str) -> None:
        """Dynamo runs a function eager from now on, of which it only logs."""
        calls = self._thread.calls
        if calls:
            calls[-1].left_eager.append((function, reason))

    def _skip(self, code: CodeType, reason: str) -> None:
        if not frames.is_foreign(code.co_filename):
            self._listener.add(CompileEvent("skip", function=place(code), reason=reason))
        self.left_eager(place(code), reason)


def _reason(error: Exception) -> str:
    where = frames.users_place(error)
    return one_line(error) + (f" at {where}" if where else "")


def place(function: object) -> str:
    """A function or its code as a person would find it."""
    code = getattr(function, "__code__", function)
    if not isinstance(code, CodeType):
        return getattr(function, "__qualname__", type(function).__qualname__)
    return f"{code.co_name} ({code.co_filename}:{code.co_firstlineno})"
