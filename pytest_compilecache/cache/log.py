"""Logs how a load or a save ended: trouble as warnings, what was done as information."""

from __future__ import annotations

import logging

from pytest_compilecache.results import CacheResult, OperationStatus
from pytest_compilecache.workspace.evict import Evicted

LOGGER = logging.getLogger("pytest_compilecache")

_SAID = {
    ("load", OperationStatus.SUCCESS): "loaded %(amount)s, from %(store)s",
    ("load", OperationStatus.SKIPPED): "nothing to load: what %(store)s holds is here already",
    ("load", OperationStatus.DOES_NOT_EXIST): (
        "nothing to load: %(store)s holds nothing of this environment"
    ),
    ("save", OperationStatus.SUCCESS): "saved %(amount)s, to %(store)s",
    ("save", OperationStatus.SKIPPED): "nothing new to save to %(store)s",
}


def log_result(call: str, store: str, result: CacheResult) -> CacheResult:
    """Log each trouble as one warning, and what was done as information.

    Args:
        call: ``load`` or ``save``.
        store: The store's place.
        result: How it ended.

    Returns:
        The result.
    """
    for each in dict.fromkeys(result.troubles):
        LOGGER.warning("compile cache: %s", each)
    if result.torn:
        LOGGER.info("compile cache: healed: %d files left torn", len(result.torn))
    if result.left_out:
        LOGGER.info("compile cache: left out of this save: %d files", len(result.left_out))
    said = _SAID.get((call, result.status))
    if said is not None:
        files = "1 file" if result.files == 1 else f"{result.files} files"
        amount = f"{files}, {result.bytes / 1e6:.1f} MB, in {result.seconds:.2f} s"
        LOGGER.info("compile cache: %s", said % {"amount": amount, "store": store})
    if result.explanation:
        LOGGER.info("compile cache: the nearest environment differs: %s", result.explanation)
    return result


def log_evicted(evicted: Evicted) -> None:
    """Log what was evicted, and trouble as warnings. That others use a workspace is none."""
    for each in evicted.troubles:
        LOGGER.warning("compile cache: %s", each)
    if evicted.files:
        amount = f"{evicted.files} unused files, {evicted.bytes / 1e6:.1f} MB"
        LOGGER.info("compile cache: evicted %s, from the workspace", amount)
    if evicted.workspaces:
        LOGGER.info("compile cache: removed unused workspaces: %s", ", ".join(evicted.workspaces))
