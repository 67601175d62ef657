"""Keeps one test's recompiles from using up another's limit.

Dynamo counts recompiles of a function over the whole process; past its limit
the function runs eager without a word. A reset before every test would help and
cost 0.2 s each; raising the limit by what earlier tests compiled costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_compilecache.compiling import private

# Half of Dynamo's accumulated limit, which no setting of ours may exceed.
_GRAPHS_BEFORE_RESET = 128


@dataclass(slots=True)
class RecompileBudget:
    """Gives each test the whole recompile limit, whatever ran before it."""

    _graphs: int = 0
    _user_limit: int | None = None
    _our_limit: int | None = None
    _exhausted: bool = False
    resets: int = 0

    def spend(self, graphs: int, *, limit_hit: bool) -> None:
        """Note what was compiled since the last call."""
        self._graphs += graphs
        self._exhausted = self._exhausted or limit_hit

    def renew(self) -> None:
        """Make room for a test."""
        current = private.recompile_limit() if self._graphs else None
        if current is None:
            return
        if current != self._our_limit:  # the user set it, at first or since
            self._user_limit = current
        if self._exhausted or self._graphs > _GRAPHS_BEFORE_RESET:
            # What ran into the limit stays eager whatever the limit is now.
            private.reset_dynamo()
            self._graphs, self._exhausted = 0, False
            self.resets += 1
        self._our_limit = (self._user_limit or current) + self._graphs
        if self._our_limit != current:
            private.set_recompile_limit(self._our_limit)

    def restore(self) -> None:
        """Give the user's limit back."""
        if self._user_limit is not None and private.recompile_limit() == self._our_limit:
            private.set_recompile_limit(self._user_limit)
