"""Restore, save and their results: the one place that fails open.

Whatever goes wrong in the store or the workspace ends here, as a status with
reason and remedy. Nothing of it reaches a test.
"""

from __future__ import annotations

import time
from dataclasses import replace

from pytest_compilecache.cache.restoring import explain, restore_from
from pytest_compilecache.cache.results import CacheResult, OperationStatus, Trouble, trouble
from pytest_compilecache.cache.saving import save_to
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.store import ReadOnlyStore, open_store
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.workspace.heal import TornFile, heal
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
    torn: tuple[TornFile, ...] = ()
    usable = False
    try:
        workspace.prepare(environment.id)
        usable = True
        healed = heal(workspace)
        torn = healed.torn
        if store is None:
            result = CacheResult(OperationStatus.DOES_NOT_EXIST)
        else:
            # A reader's notes wait for nobody's turn.
            opened = open_store(store, replace(limits, lock_seconds=0))
            catalog = Catalog(ReadOnlyStore(opened) if read_only else opened, environment.id)
            result = restore_from(workspace, catalog, healed, limits)
            if result.status is OperationStatus.DOES_NOT_EXIST:
                result = replace(result, explanation=explain(environment, catalog))
    except Exception as error:  # noqa: BLE001  (fails open, by design)
        result = CacheResult(
            OperationStatus.ERROR, troubles=(trouble(store or workspace.root, error),)
        )
    seconds = time.perf_counter() - started
    return replace(result, torn=torn, seconds=seconds, usable=usable)


def save(
    workspace: Workspace, environment: Environment, store: str, limits: Limits = DEFAULT_LIMITS
) -> CacheResult:
    """Add what is new in the workspace to the store, and keep the store in shape.

    Never raises: trouble is in the result.

    Args:
        workspace: The workspace.
        environment: The environment that it belongs to.
        store: The store's place.
        limits: What may be taken.
    """
    started = time.perf_counter()
    torn: tuple[TornFile, ...] = ()
    try:
        healed = heal(workspace)
        torn = healed.torn
        catalog = Catalog(open_store(store, limits), environment.id)
        result = save_to(workspace, catalog, environment, healed, limits)
    except Exception as error:  # noqa: BLE001  (fails open, by design)
        result = CacheResult(OperationStatus.ERROR, troubles=(trouble(store, error),))
    return replace(result, torn=torn, seconds=time.perf_counter() - started)
