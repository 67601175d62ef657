"""``watch``: beside a command that somebody else starts, load at once, or save when it is ready.

It starts nothing and ends by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.cache.log import LOGGER
from pytest_compilecache.supervising.keeping import Keeper
from pytest_compilecache.supervising.readiness import Check, wait_until

_LOADED = frozenset({OperationStatus.SUCCESS, OperationStatus.SKIPPED})


@dataclass(frozen=True, slots=True)
class WatchOutcome:
    """How a watch went.

    Attributes:
        load: How the load ended.
        ready: Whether the command was seen to be ready.
        save: How the save ended; None when there was none.
        unsaved: Why nothing was to be saved, or empty.
    """

    load: CacheResult
    ready: bool = False
    save: CacheResult | None = None
    unsaved: str = ""

    @property
    def ok(self) -> bool:
        """Whether all went well that was to be done."""
        if self.save is not None:
            return self.save.status is not OperationStatus.ERROR
        nothing_to_do = self.unsaved and self.load.status is OperationStatus.DOES_NOT_EXIST
        return self.load.status in _LOADED or bool(nothing_to_do)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for another process."""
        return {
            "ok": self.ok,
            "load": self.load.to_mapping(),
            "ready": self.ready,
            "save": self.save.to_mapping() if self.save else None,
            "unsaved": self.unsaved,
        }


def watch(keeper: Keeper, readiness: Callable[[Keeper], Check], seconds: float) -> WatchOutcome:
    """Load; where the store has nothing, wait for the command to be ready, and save.

    Args:
        keeper: The command's cache.
        readiness: Makes what tells that the command is ready.
        seconds: How long to wait for that.
    """
    loaded = keeper.load()
    if loaded.status in _LOADED or keeper.site is None:
        return WatchOutcome(loaded)
    if keeper.unsaved:
        LOGGER.info("compile cache: nothing is saved: %s", keeper.unsaved)
        return WatchOutcome(loaded, unsaved=keeper.unsaved)
    if not wait_until(readiness(keeper), threading.Event(), seconds):
        LOGGER.warning("compile cache: not ready after %g s; nothing is saved", seconds)
        return WatchOutcome(loaded)
    return WatchOutcome(loaded, ready=True, save=keeper.save())
