"""Brings what happens in library calls to a session that runs in the same process.

A server knows of no session, and a session of no server: they meet at the
interpreter's audit events (PEP 578).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from pytest_compilecache import auditing
from pytest_compilecache.compiling.events import CompileEvent
from pytest_compilecache.compiling.failures import EventListener

_AUDIT_EVENT = "pytest_compilecache.event"


class Announcer:
    """Takes events and announces them to whoever listens in this process."""

    def add(self, event: CompileEvent) -> None:
        """Announce an event."""
        sys.audit(_AUDIT_EVENT, event)


class Hearing:
    """Passes announced events on.

    Args:
        listener: Takes them.
    """

    def __init__(self, listener: EventListener) -> None:
        self._listener = listener

    def start(self) -> Callable[[], None]:
        """Listen from now on.

        Returns:
            Ends it.
        """
        return auditing.listen(self._hear, _AUDIT_EVENT)

    def _hear(self, _event: str, arguments: tuple[Any, ...]) -> None:
        self._listener.add(arguments[0])
