"""``watch``: beside a command that another process starts, load at once, or save when it is ready.

It starts nothing and ends by itself: every wait has a deadline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble
from pytest_compilecache.cache.log import LOGGER
from pytest_compilecache.server.keeping import CommandProcess
from pytest_compilecache.server.readiness import Check, wait_until

_LOADED = frozenset({OperationStatus.SUCCESS, OperationStatus.SKIPPED})
_LAST_LOOK_SECONDS = 5.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """What ``watch`` shall do.

    Attributes:
        readiness: Makes the check for the command being ready, once its caches are known.
        load_seconds: How long the load may take.
        ready_seconds: How long to wait for the command to be ready.
        save_seconds: How long the save may take.
    """

    readiness: Callable[[CommandProcess], Check]
    load_seconds: float = 120.0
    ready_seconds: float = 1800.0
    save_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class WatchOutcome:
    """How a watch went.

    Attributes:
        load: How the load ended.
        ready: Whether the command was seen to be ready.
        save: How the save ended; None when there was none.
        unsaved: Why nothing was to be saved, or empty.
        cut_short: Whether a load, a look or a save still runs in a thread of this process.
    """

    load: CacheResult
    ready: bool = False
    save: CacheResult | None = None
    unsaved: str = ""
    cut_short: bool = False

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


def watch(keeper: CommandProcess, plan: WatchPlan) -> WatchOutcome:
    """Load; where the store has nothing, wait for the command to be ready, and save.

    Args:
        keeper: The command's cache.
        plan: How.
    """
    loaded = _within(plan.load_seconds, keeper.load_here)
    if loaded is None:
        return WatchOutcome(_too_long("load", plan.load_seconds), cut_short=True)
    if loaded.status in _LOADED or keeper.site is None:
        return WatchOutcome(loaded)
    if keeper.unsaved:
        LOGGER.info("compile cache: nothing is saved: %s", keeper.unsaved)
        return WatchOutcome(loaded, unsaved=keeper.unsaved)
    ready = _within(plan.ready_seconds + _LAST_LOOK_SECONDS, lambda: _wait(keeper, plan))
    if not ready:
        waited = plan.ready_seconds
        LOGGER.warning("compile cache: not ready after %g s; nothing is saved", waited)
        return WatchOutcome(loaded, cut_short=ready is None)
    saved = _within(plan.save_seconds, keeper.save_here)
    if saved is None:
        late = _too_long("save", plan.save_seconds)
        return WatchOutcome(loaded, ready=True, save=late, cut_short=True)
    return WatchOutcome(loaded, ready=True, save=saved)


def _wait(keeper: CommandProcess, plan: WatchPlan) -> bool:
    return wait_until(plan.readiness(keeper), threading.Event(), plan.ready_seconds)


def _within(seconds: float, function: Callable[[], Result]) -> Result | None:
    """What a function returns, or None when it takes longer: a store, a folder or a name
    server may hang for ever.
    """
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else None


def _too_long(what: str, seconds: float) -> CacheResult:
    """Cut short, which leaves nothing half done: it ends with this process."""
    reason = f"it has not ended after {seconds:g} s, and is cut short"
    LOGGER.warning("compile cache: the %s: %s", what, reason)
    remedy = f"see whether the store hangs, or give --{what}-timeout"
    return CacheResult(OperationStatus.ERROR, troubles=(Trouble(what, reason, remedy),))
