"""Keeps one test's recompiles from using up another's limit.

Dynamo counts recompiles of a function over the whole process; past its limit
the function runs eager without a word. A reset before every test would help and
cost 0.2 s each; raising the limit by what earlier tests compiled of the most
compiled function costs nothing. Other functions then have that much to spare.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import shortened

_MESSAGE = "torch._dynamo hit config."
# Half of Dynamo's accumulated limit, which no setting of ours may exceed.
_COMPILES_BEFORE_RESET = 128


@dataclass(slots=True)
class RecompileBudget:
    """Gives each test the whole recompile limit, whatever ran before it."""

    _compiles: Counter[str] = field(default_factory=Counter)
    _user_limit: int | None = None
    _our_limits: set[int] = field(default_factory=set)
    _exhausted: bool = False
    resets: int = 0

    def spend(self, compiles: Mapping[str, int], *, limit_hit: bool) -> None:
        """Note how often each function was compiled since the last call."""
        self._compiles.update(compiles)
        self._exhausted = self._exhausted or limit_hit

    def forget(self) -> None:
        """Note that all compiled code was forgotten."""
        self._compiles = Counter(dict.fromkeys(self._compiles, 0))

    def renew(self) -> None:
        """Make room for a test."""
        current = private.recompile_limit() if self._compiles else None
        if current is None:
            return
        # What is neither was set by the user, at first or since. All of ours
        # count: a test's own patch may bring an old one back.
        if current not in self._our_limits:
            self._user_limit = current
        if self._exhausted or max(self._compiles.values()) > _COMPILES_BEFORE_RESET:
            # What ran into the limit stays eager whatever the limit is now.
            private.reset_dynamo()
            self._compiles.clear()
            self._exhausted = False
            self.resets += 1
        limit = (self._user_limit or current) + max(self._compiles.values(), default=0)
        if limit != self._user_limit:
            self._our_limits.add(limit)
        if limit != current:
            private.set_recompile_limit(limit)

    def restore(self) -> None:
        """Give the user's limit back."""
        if self._user_limit is not None and private.recompile_limit() in self._our_limits:
            private.set_recompile_limit(self._user_limit)


class LimitWatch:
    """Tells that Dynamo gave up on a function and runs it eager from now on.

    Args:
        note: Takes the function, and the limit with the reason of the last recompile.
    """

    def __init__(self, note: Callable[[str, str], None]) -> None:
        self._note = note
        self._undo: Callable[[], None] = _nothing

    def attach(self) -> None:
        """Watch, once Dynamo is loaded."""
        # Where its function has another name, its log is all that there is, and a test
        # that sets up logging silences it.
        self._undo = private.note_limits(self._hear) or _Listener(self._hear).attach()

    def undo(self) -> None:
        """Watch no more."""
        self._undo()

    def _hear(self, function: str, limit: str, reason: str) -> None:
        value = private.dynamo_setting(limit)
        why = f"{limit} ({value}) reached; last recompile: {shortened(reason)}"
        self._note(function.replace("'", ""), why)


class _Listener(logging.Handler):
    """Hears it from Dynamo's logger."""

    def __init__(self, hear: Callable[[str, str, str], None]) -> None:
        super().__init__(logging.WARNING)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on the function and the reason of the last recompile."""
        if not str(record.msg).startswith(_MESSAGE):
            return
        details = record.args if isinstance(record.args, tuple) else ()
        words = (" ".join(str(detail).split()) for detail in details)
        limit, _, function, reason = (*words, "", "", "", "")[:4]
        self._hear(function, limit, reason)

    def attach(self) -> Callable[[], None]:
        """Listen to Dynamo's logger."""
        logger = logging.getLogger(private.CONVERT_FRAME)
        logger.addHandler(self)
        return functools.partial(logger.removeHandler, self)


def _nothing() -> None:
    """Undo nothing."""
