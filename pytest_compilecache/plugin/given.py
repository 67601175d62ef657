"""Tests under hypothesis's ``@given``: each example compiles under a test's own rules.

The one place that touches names of hypothesis, each behind a probe: what is missing
costs a protection, never a test. Hypothesis is not imported here; a test that uses
it has done so.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_compilecache.plugin.fixtures import take_part
from pytest_compilecache.plugin.session import CompileSession

_SETTINGS = "_hypothesis_internal_use_settings"
# Safe for all examples of a test: they keep nothing of an example, but its events,
# which are meant to add up.
REUSABLE = frozenset(
    {"assert_matches_eager", "compile_cache", "compile_model", "compile_stats", "compiled_model"}
)


def is_given(item: pytest.Item) -> bool:
    """Whether the test runs under ``@given``."""
    return "hypothesis" in sys.modules and hasattr(_function(item), "hypothesis")


@contextlib.contextmanager
def watched_examples(item: pytest.Item, session: CompileSession) -> Iterator[None]:
    """Let a test's examples be compiled, counted and timed as if each were a test.

    Args:
        item: A test under ``@given``.
        session: The cache in this process.
    """
    handle = getattr(_function(item), "hypothesis", None)
    test = getattr(handle, "inner_test", None)
    if handle is None or test is None or inspect.iscoroutinefunction(test):
        yield
        return
    handle.inner_test = _watched(test, item, session)
    try:
        with _fixtures_allowed(item):
            yield
    finally:
        handle.inner_test = test


def _watched(
    test: Callable[..., Any], item: pytest.Item, session: CompileSession
) -> Callable[..., Any]:
    @functools.wraps(test)
    def example(*args: Any, **kwargs: Any) -> Any:
        guard, started = session.guard, time.perf_counter()
        before = guard.call("the start of an example", _compiled, item, session)
        guard.call("the start of an example", _renew_limit, session)
        ours = time.perf_counter() - started
        result = test(*args, **kwargs)
        compiled = guard.call("the end of an example", _compiled, item, session) != before
        excused = time.perf_counter() - started if compiled else ours
        guard.call("the end of an example", _excuse, excused)
        return result

    return example


def _renew_limit(session: CompileSession) -> None:
    """Give the example the whole recompile limit: past it, all later ones would run eager."""
    if session.run is not None and session.run.limit is not None:
        session.run.limit.restart()


def _compiled(item: pytest.Item, session: CompileSession) -> tuple[int, int]:
    """How much the test compiled so far; what an example compiled becomes the test's."""
    if not session.watching:
        return 0, 0
    record = take_part(item.config).record_so_far()
    return record.graphs, len(record.events)


def _excuse(seconds: float) -> None:
    """Do not hold an example against the deadline that compiled: the next time it does not.

    Hypothesis subtracts from an example's time what it spent drawing, collecting
    garbage and so on. Without this it would call such a test flaky.
    """
    control = sys.modules.get("hypothesis.control")
    current = getattr(control, "current_build_context", None)
    if current is None:
        return
    times = getattr(getattr(current(), "data", None), "_stateful_run_times", None)
    if times is not None:
        times["compile"] = times.get("compile", 0.0) + seconds


@contextlib.contextmanager
def _fixtures_allowed(item: pytest.Item) -> Iterator[None]:
    """Tell hypothesis that our fixtures may be shared by examples, if no others are used.

    Others it still refuses: whether they may be shared is for their author to say.
    """
    function = _function(item)
    settings = getattr(function, _SETTINGS, None)
    requested = _function_scoped(item)
    if settings is None or not requested or not requested <= REUSABLE:
        yield
        return
    from hypothesis import HealthCheck  # noqa: PLC0415

    suppressed = {*settings.suppress_health_check, HealthCheck.function_scoped_fixture}
    setattr(function, _SETTINGS, type(settings)(settings, suppress_health_check=suppressed))
    try:
        yield
    finally:
        setattr(function, _SETTINGS, settings)


def _function_scoped(item: pytest.Item) -> set[str]:
    """The function-scoped fixtures among the test's arguments, the only ones it looks at."""
    information = getattr(item, "_fixtureinfo", None)
    named = getattr(information, "argnames", ())
    definitions = getattr(information, "name2fixturedefs", {})
    found = {name: definitions.get(name, ()) for name in named}
    return {
        name
        for name, definition in found.items()
        if definition and definition[-1].scope == "function"
    }


def _function(item: pytest.Item) -> Any:
    test = getattr(item, "obj", None)
    return getattr(test, "__func__", test)
