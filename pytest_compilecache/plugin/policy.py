"""What a failure to compile means in the running test: a warning, a failure, a skip, an xfail."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest

from pytest_compilecache.compiling.failures import Failure
from pytest_compilecache.errors import CompileFallbackError, CompileFallbackWarning
from pytest_compilecache.settings import FallbackMode

_REMEDY = "fallback='fail' makes this a failure"


class FallbackPolicy:
    """The rule for failures to compile, which changes with the test.

    Args:
        default: The mode of tests whose mark says nothing of it.
        claim: Whether no other process of the session has warned of a broken toolchain.
    """

    def __init__(
        self, default: FallbackMode = "eager", claim: Callable[[], bool] = lambda: True
    ) -> None:
        self.default: FallbackMode = default
        self._claim = claim
        self._mode: FallbackMode = default
        self._item: pytest.Item | None = None
        self._warned = False
        self._toolchain_warned = False

    def begin(self, item: pytest.Item, mode: FallbackMode | None) -> None:
        """Another test runs."""
        self._item, self._mode = item, mode or self.default
        self._warned = False

    def end(self) -> None:
        """No test runs."""
        self._item, self._mode = None, self.default
        self._warned = False

    def __call__(self, failure: Failure) -> None:
        """Judge a failure.

        Raises:
            Exception: What torch raised, or ``CompileFallbackError`` where a failure of an
                earlier test is met again, in mode ``fail``.
        """
        if self._mode == "fail":
            raise failure.error or CompileFallbackError(
                failure.function or "a graph",
                f"ran eager: {failure.reason}",
                "as in an earlier test",
            )
        if failure.whole:
            return  # a broken full graph is a broken contract, whatever the mode says
        told = f"did not compile: {failure}"
        if self._mode == "skip":
            raise _skipped(told)
        if self._mode == "xfail":
            pytest.xfail(told)
        self._warn(failure)

    def _warn(self, failure: Failure) -> None:
        if failure.toolchain:  # one trouble of the machine, however many tests meet it
            if not self._toolchain_warned:
                self._toolchain_warned = True
                text = f"everything that must be compiled runs eager: {failure.reason}"
                if self._claim():
                    self._emit(CompileFallbackWarning(text))
        elif not self._warned:
            self._warned = True
            text = f"did not compile and ran eager: {failure}. {_REMEDY}."
            self._emit(CompileFallbackWarning(text))

    def _emit(self, warning: CompileFallbackWarning) -> None:
        if self._item is not None:
            self._item.warn(warning)
        else:
            warnings.warn(warning, stacklevel=2)


def _skipped(told: str) -> BaseException:
    """A skip that pytest reports at the test, and not at the line here that raises it."""
    try:
        return pytest.skip.Exception(told, _use_item_location=True)
    except TypeError:  # the argument is pytest's own
        return pytest.skip.Exception(told)
