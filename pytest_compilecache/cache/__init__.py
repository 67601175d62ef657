"""Restore, save and their results. Both fail open.

What goes wrong in the store or the workspace ends here, as a status with reason and
remedy. Nothing of it reaches a test.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_compilecache.cache.restoring import explain, restore_from
from pytest_compilecache.cache.saving import save_to
from pytest_compilecache.environment import Environment
from pytest_compilecache.errors import SettingsError
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.results import (
    TIME_LIMIT_REMEDY,
    CacheResult,
    OperationStatus,
    TimeUpError,
    Trouble,
    trouble,
)
from pytest_compilecache.store import ReadOnlyStore, folder_of, open_store
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.workspace.heal import Healed, heal
from pytest_compilecache.workspace.place import Workspace

__all__ = ["CacheResult", "OperationStatus", "Trouble", "restore", "save", "trouble"]


def restore(
    workspace: Workspace,
    environment: Environment,
    store: str | None,
    limits: Limits = DEFAULT_LIMITS,
    *,
    read_only: bool = False,
) -> CacheResult:
    """Prepare and heal the workspace and bring what it lacks from the store.

    Never raises: trouble is in the result.

    Args:
        workspace: The workspace.
        environment: The environment that it belongs to.
        store: The store's place, or None where only the workspace is used.
        limits: What may be taken.
        read_only: Whether the store is left as it is, without a note even on a damaged pack.
    """
    started = time.perf_counter()
    healed = None
    usable = False
    try:
        workspace.prepare(environment.id)
        usable = True
        healed = heal(workspace)
        if store is None:
            result = CacheResult(OperationStatus.DOES_NOT_EXIST)
        else:
            _check_apart(workspace, store)
            # A reader's notes wait for no turn.
            opened = open_store(store, replace(limits, lock_seconds=0))
            catalog = Catalog(ReadOnlyStore(opened) if read_only else opened, environment.id)
            result = restore_from(workspace, catalog, healed, limits)
            if result.status is OperationStatus.DOES_NOT_EXIST:
                result = replace(result, explanation=explain(environment, catalog))
    except Exception as error:  # noqa: BLE001  (fails open, by design)
        result = _failed(store or workspace.root, error)
    return _with_health(replace(result, usable=usable), healed, started)


def save(
    workspace: Workspace,
    environment: Environment,
    store: str,
    limits: Limits = DEFAULT_LIMITS,
    *,
    deadline: float | None = None,
    unpublished: Sequence[tuple[int, int]] = (),
) -> CacheResult:
    """Add what is new in the workspace to the store, and keep its environment there in shape.

    Never raises: trouble is in the result.

    Args:
        workspace: The workspace.
        environment: The environment that it belongs to.
        store: The store's place.
        limits: What may be taken.
        deadline: When to stop, by ``time.monotonic``; by default in ``limits.save_seconds``.
            What was packed until then is published, and the rest is named in an error.
        unpublished: Stretches of time, in nanoseconds; what was written in them stays here.
    """
    started = time.perf_counter()
    now = time.monotonic()
    deadline = now + limits.save_seconds if deadline is None else deadline
    healed = None
    try:
        _check_apart(workspace, store)
        healed = _without(heal(workspace, deadline), unpublished)
        catalog = Catalog(open_store(store, limits, deadline=deadline), environment.id)
        result = save_to(catalog, environment, healed, limits, deadline, deadline - now)
    except TimeUpError as error:
        reason = f"nothing was saved within {deadline - now:.0f} s, the time limit: {error.reason}"
        late = Trouble(error.subject, reason, TIME_LIMIT_REMEDY)
        result = CacheResult(OperationStatus.ERROR, troubles=(late,))
    except Exception as error:  # noqa: BLE001  (fails open, by design)
        result = _failed(store, error)
    return _with_health(result, healed, started)


def _failed(subject: object, error: Exception) -> CacheResult:
    return CacheResult(OperationStatus.ERROR, troubles=(trouble(subject, error),))


def _with_health(result: CacheResult, healed: Healed | None, started: float) -> CacheResult:
    seconds = time.perf_counter() - started
    if healed is None:
        return replace(result, seconds=seconds)
    return replace(
        result,
        seconds=seconds,
        torn=healed.torn,
        killed=healed.killed,
        workspace_bytes=healed.bytes,
    )


def _without(healed: Healed, unpublished: Sequence[tuple[int, int]]) -> Healed:
    if not unpublished:
        return healed
    whole = {
        path: file
        for path, file in healed.whole.items()
        if not any(first <= file.modified <= last for first, last in unpublished)
    }
    return replace(healed, whole=whole)


def _check_apart(workspace: Workspace, store: str) -> None:
    """Refuse a store among the artifacts: each save would save the saves before it.

    Raises:
        SettingsError: It lies there.
    """
    place = os.path.realpath(folder_of(store))
    for _, area in workspace.areas():
        if Path(place).is_relative_to(os.path.realpath(area)):
            raise SettingsError(
                f"store {store}",
                f"it lies in {area}, where torch keeps what would be saved to it",
                "name another folder for the store, or for TORCHINDUCTOR_CACHE_DIR",
            )
