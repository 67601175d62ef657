"""Brings what happens in library calls to a session that runs in the same process.

A server knows of no session, and a session of no server: they meet at the
interpreter's audit events (PEP 578).
"""

from __future__ import annotations

import sys
from typing import Any

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
        self._active = False
        self._hooked = False

    def start(self) -> None:
        """Listen from now on. An audit hook cannot be removed, only told to rest."""
        self._active = True
        if not self._hooked:
            sys.addaudithook(self._hear)
            self._hooked = True

    def stop(self) -> None:
        """Rest."""
        self._active = False

    def _hear(self, name: str, arguments: tuple[Any, ...]) -> None:
        if self._active and name == _AUDIT_EVENT:
            self._listener.add(arguments[0])
