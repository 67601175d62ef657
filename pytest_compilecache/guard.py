"""Keeps errors of ours out of the calls of pytest, torch and the interpreter that run our code.

The cache costs time when it fails, never a test. The first error turns everything off that
shares the guard; it is reported once, with the name of the hook.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Guard:
    """Calls functions of ours, until one of them raises.

    Args:
        on_failure: Called once, with the name of the hook and what was raised. What it
            raises itself is dropped.

    Attributes:
        off: Whether a function raised, so that none is called any more.
    """

    def __init__(self, on_failure: Callable[[str, Exception], object]) -> None:
        self.off = False
        self._on_failure = on_failure

    def call(
        self,
        hook: str,
        function: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result | None:
        """Call a function; None where it raises, or one did before.

        Exceptions that are no ``Exception`` pass: an interrupt, a test's time limit.

        Args:
            hook: How the warning names the place, such as ``pytest_runtest_setup``.
            function: What to call.
            *args: Its arguments.
            **kwargs: Its keyword arguments.
        """
        if self.off:
            return None
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  (it would fail a test that has no part in it)
            self.fail(hook, error)
            return None

    def bound(self, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that calls another one in this way."""
        return functools.partial(self.call, hook, function)

    def fail(self, hook: str, error: Exception) -> None:
        """Turn off everything that shares this guard."""
        if self.off:
            return
        self.off = True
        try:
            self._on_failure(hook, error)
        except Exception:  # noqa: BLE001  (to give things back may fail for the same reason)
            return
