"""Failures to compile: which errors are none, how each is reported, and what may forbid it.

Nothing here runs a user's code, and an error of the user's own never passes here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pytest_compilecache.compiling.events import CompileEvent, shortened
from pytest_compilecache.torchhooks import cpp_compiler, inductor


class EventListener(Protocol):
    """Takes events."""

    def add(self, event: CompileEvent) -> None:
        """Note an event."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that did not compile, and runs eager unless a rule forbids it.

    Attributes:
        reason: What torch or a compiler says, on one line.
        function: The function concerned, with its place, where that is known.
        error: What was raised; None when it was raised in an earlier test.
        toolchain: Whether a compiler is missing or broken, so that nothing can compile.
        whole: Whether it was to be one graph (``fullgraph``) and Dynamo could not make it one.
    """

    reason: str
    function: str = ""
    error: Exception | None = field(default=None, compare=False, repr=False)
    toolchain: bool = False
    whole: bool = False

    def __str__(self) -> str:
        return ": ".join(part for part in (self.function, self.reason) if part)


Rule = Callable[[Failure], None]


def allow(_: Failure) -> None:
    """The rule that forbids nothing."""


class Fallbacks:
    """What becomes of failures to compile: each is reported once in a test, by its rule.

    Args:
        listener: Takes the events.
        rule: Asked about each failure that is reported. What it raises goes to the caller
            of the compiled function; if it returns, the graph runs eager.
        diagnose: Says what is wrong with the toolchain, if that is why, else "".
        identity: Code that was compiled for one identity is not used for another, so
            that each reports its own failures.
        reported: The failures that were reported, of the test that runs now.
    """

    def __init__(
        self,
        listener: EventListener,
        rule: Rule = allow,
        diagnose: Callable[[BaseException], str] | None = None,
        identity: object = None,
        reported: Callable[[], set[Failure]] | None = None,
    ) -> None:
        own: set[Failure] = set()
        self.rule = rule
        self.identity = identity
        self._listener = listener
        self._diagnose = diagnose
        self._reported = reported or (lambda: own)
        self._lock = threading.Lock()

    def failed(self, error: Exception, function: str = "") -> Failure:
        """Something does not compile.

        Raises:
            BaseException: What the rule raises.
        """
        failure = self.describe(error, function)
        self.report(failure)
        return replace(failure, error=None)  # as in what is remembered as reported

    def describe(self, error: Exception, function: str = "", *, whole: bool = False) -> Failure:
        """An error as a failure."""
        broken = self._diagnose(error) if self._diagnose else ""
        inner = innermost(error)
        said = cpp_compiler.compiler_output(inner)
        reason = broken or (
            f"{type(inner).__name__}: {shortened(said)}" if said else one_line(inner)
        )
        return Failure(reason, function, error, bool(broken), whole)

    def report(self, failure: Failure) -> None:
        """Report a failure, unless it was reported in this test.

        Raises:
            BaseException: What the rule raises; nothing runs eager then.
        """
        reported = self._reported()
        with self._lock:
            if failure in reported:
                return
        self.rule(failure)
        # Not before: what is forbidden once is forbidden again, and has not run eager.
        with self._lock:
            if failure in reported:
                return
            # Without its error, whose traceback would keep the user's tensors alive.
            reported.add(replace(failure, error=None))
        event = CompileEvent("fallback", function=failure.function, reason=failure.reason)
        self._listener.add(event)

    def reporting(self, failure: Failure, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that reports the failure whenever it runs, first of all in a later test."""

        def run_eager(*args: Any) -> Any:
            self.report(failure)
            return function(*args)

        return run_eager


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was made of, the innermost last."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [getattr(each, "inner_exception", None), each.__cause__]
            if each.__suppress_context__:  # Dynamo rewraps errors "from None", an alarm's too
                waiting.append(each.__context__)


def innermost(error: BaseException) -> BaseException:
    """What a backend raised, without what torch wrapped around it."""
    inner = getattr(error, "inner_exception", None)
    return innermost(inner) if isinstance(inner, BaseException) else error


def one_line(error: BaseException) -> str:
    """What an error says, on one line and not too long."""
    text = shortened(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def must_pass(error: BaseException) -> bool:
    """Whether the error is no failure to compile.

    Memory that ran out, an alarm that a test set, a warning that the user made an error
    of, what a strict setting of torch's raises, or Dynamo talking to itself; also where
    torch wrapped it.
    """
    if interruption(error) is not None:
        return True
    talk = inductor.control_flow_errors()
    passing: tuple[type[BaseException], ...] = (Warning, *talk, *inductor.bypass_errors())
    return any(isinstance(each, passing) for each in chain(error))


def interruption(error: BaseException) -> BaseException | None:
    """Memory that ran out or an alarm, out of what torch wrapped around it, or None."""
    import torch  # noqa: PLC0415  (a process that compiles has it loaded)

    exhausted = (MemoryError, torch.OutOfMemoryError)
    found = (each for each in chain(error) if isinstance(each, exhausted) or _is_alarm(each))
    return next(found, None)


def _is_alarm(error: BaseException) -> bool:
    # filelock's Timeout is a TimeoutError as well: of a lock of torch's own.
    return isinstance(error, TimeoutError) and type(error).__module__ == "builtins"
