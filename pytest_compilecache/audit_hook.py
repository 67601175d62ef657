"""Listens to the interpreter's audit events (PEP 578), by one hook for the whole process.

An audit hook can never be removed, and runs at every event: one for each listener would
make a process slower with each session in it, which tests of plugins start by the hundred.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any

Listener = Callable[[str, tuple[Any, ...]], None]

_listeners: dict[str, tuple[Listener, ...]] = {}
_changing = threading.Lock()
_hooks: list[Callable[..., None]] = []


def listen(listener: Listener, *events: str) -> Callable[[], None]:
    """Be told of audit events from now on.

    Args:
        listener: Gets the name of an event and its arguments, in the thread where it
            happens, before it happens. What it raises, the audited operation raises.
        *events: The names of the events.

    Returns:
        Ends it. It may be called twice.
    """
    with _changing:
        for event in events:
            _listeners[event] = (*_listeners.get(event, ()), listener)
        if not _hooks:
            _hooks.append(_hook(_listeners))
            sys.addaudithook(_hooks[0])

    def stop() -> None:
        with _changing:
            for event in events:
                _listeners[event] = tuple(
                    each for each in _listeners.get(event, ()) if each is not listener
                )

    return stop


def hook_code() -> CodeType | None:
    """The code of the hook of this process, if there is one."""
    return _hooks[0].__code__ if _hooks else None


def _hook(listeners: dict[str, tuple[Listener, ...]]) -> Listener:
    # A closure: a module's names are gone before the last events of a process. No lock: the
    # hook may run in a signal handler of the thread that holds it, or in a forked child.
    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        for listener in listeners.get(event, ()):
            listener(event, arguments)

    return hear
