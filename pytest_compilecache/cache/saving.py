"""Adds to a store what is new, renews what is old and used, and takes over packs that pile up.

Nothing is taken away here before it stands elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_compilecache.cache.planning import (
    Contents,
    Plan,
    find_twins,
    make_plan,
    read_contents,
    recency,
)
from pytest_compilecache.environment import Environment
from pytest_compilecache.errors import CompileCacheError
from pytest_compilecache.limits import Limits
from pytest_compilecache.pack import (
    CHANGED,
    VANISHED,
    PackSource,
    PackTooLargeError,
    WrittenPack,
)
from pytest_compilecache.results import CacheResult, OperationStatus, Trouble, trouble
from pytest_compilecache.store.base import StoreAccessError
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.overdue import is_overdue
from pytest_compilecache.store.prune import prune
from pytest_compilecache.store.staging import StoreFullError
from pytest_compilecache.workspace.heal import Healed
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.scan import WorkspaceFile

# Artifacts compress to a third or less; what does not gets all that it asks for.
_SHARES_OF_WHAT_IS_NEEDED = (0.4, 1.1)
_LEFT_OVER = 8
_CLOCKS_AGREE_SECONDS = 3600.0
_MAX_TOLD = 20
_INDEX_BYTES = 4096  # of a small pack, and of a description


def save_to(
    workspace: Workspace,
    catalog: Catalog,
    environment: Environment,
    healed: Healed,
    limits: Limits,
) -> CacheResult:
    """Write what the plan says.

    Raises:
        CompileCacheError: The store cannot be read or written, or has no room.
        OSError: The workspace cannot be read.
    """
    contents = read_contents(catalog)
    twins = find_twins(workspace, healed, contents)
    plan = make_plan(contents, healed.whole, time.time(), limits, twins)
    troubles = tuple(contents.troubles)
    if not (plan.new or plan.old):
        if contents.noted:  # which is read whole at each save, until it is pruned
            _tidy_up(catalog, contents, limits)
        return CacheResult(OperationStatus.SKIPPED, troubles=troubles)
    write = functools.partial(_write_plan, catalog, environment, plan, limits, contents.troubles)
    written = _with_room(catalog, plan, limits, contents.troubles, write)
    result = _result(plan, written, contents.troubles)
    if not result.packs:
        return result
    _tidy_up(catalog, contents, limits)
    duplicates = len(twins) - len(healed.twins)
    return replace(result, duplicates=duplicates)


def _tidy_up(catalog: Catalog, contents: Contents, limits: Limits) -> None:
    """Prune where there is enough to prune."""
    now = time.time()
    # Not after each merge: what stays is read whole before anything goes.
    much = contents.left_over(now - limits.grace_seconds) >= _LEFT_OVER * limits.fan
    with contextlib.suppress(CompileCacheError):  # it is only tidying up
        if not much and not is_overdue(catalog.store, now, limits):
            return
        # Whose clock is wrong has just judged by it what is used, and what is to be renewed.
        if abs(catalog.store.clock() - now) < _CLOCKS_AGREE_SECONDS:
            prune(catalog.store, limits)


def _with_room(
    catalog: Catalog,
    plan: Plan,
    limits: Limits,
    troubles: list[Trouble],
    write: Callable[[], list[WrittenPack]],
) -> list[WrittenPack]:
    """Write; where the store's limit leaves no room, make some, and in the end write what fits."""
    wanted = (*plan.new, *plan.old)
    needed = sum(file.size for file in wanted)
    for share in _SHARES_OF_WHAT_IS_NEEDED:
        try:
            return write()
        except StoreFullError:
            if limits.store_bytes is None:
                raise
            left = max(limits.store_bytes - int(share * needed) - _INDEX_BYTES, 0)
            prune(catalog.store, replace(limits, store_bytes=left))
    if not limits.split:
        return write()
    return _fitting(catalog, sorted(wanted, key=recency, reverse=True), limits, troubles)


def _fitting(
    catalog: Catalog, files: Sequence[WorkspaceFile], limits: Limits, troubles: list[Trouble]
) -> list[WrittenPack]:
    """Write of some files, the most recently used first, what there is room for."""
    try:
        return _split(catalog, files, limits, troubles)
    except StoreFullError as error:
        if len(files) == 1:
            troubles.append(trouble(catalog.store.url, error))
            return []
    half = _half(files)
    failures = len(troubles)
    written = _fitting(catalog, files[:half], limits, troubles)
    if len(troubles) == failures:
        written += _fitting(catalog, files[half:], limits, troubles)
    return written


def _write_plan(
    catalog: Catalog,
    environment: Environment,
    plan: Plan,
    limits: Limits,
    troubles: list[Trouble],
) -> list[WrittenPack]:
    """Write with what is merged, or where that is too much, without."""
    catalog.describe(environment.to_json())
    if plan.merged:
        with contextlib.suppress(PackTooLargeError, StoreFullError):
            written = _write(catalog, plan.files, plan.supersedes, limits)
            return [written]
    return _split(catalog, (*plan.new, *plan.old), limits, troubles)


def _split(
    catalog: Catalog, files: Sequence[WorkspaceFile], limits: Limits, troubles: list[Trouble]
) -> list[WrittenPack]:
    """Write files as one pack, or as several where one would be too large."""
    try:
        written = _write(catalog, files, (), limits)
    except PackTooLargeError as error:
        if not limits.split:
            raise
        if len(files) == 1:  # which is no reason to lose the others
            troubles.append(trouble(files[0].path, error))
            return []
    else:
        return [written]
    half = _half(files)
    parts = (files[:half], files[half:])
    return [pack for part in parts for pack in _split(catalog, part, limits, troubles)]


def _half(files: Sequence[WorkspaceFile]) -> int:
    """Where to cut so that both parts have about the same bytes."""
    total = sum(file.size for file in files)
    so_far = 0
    for position, file in enumerate(files[:-1], start=1):
        so_far += file.size
        if 2 * so_far >= total:
            return position
    return max(len(files) - 1, 1)


def _write(
    catalog: Catalog, files: Iterable[WorkspaceFile], supersedes: tuple[str, ...], limits: Limits
) -> WrittenPack:
    sources = [PackSource(file.path, file.location) for file in files]
    for attempt in range(2):
        try:
            written = catalog.publish(
                sources,
                created=time.time(),
                supersedes=supersedes,
                max_bytes=limits.pack_bytes,
            )
        except StoreAccessError as error:
            # On a file system without kernel locks, a writer that was stopped for long
            # is taken for dead, and finds its file gone when it wakes.
            if error.errno != errno.ENOENT or attempt:
                raise
        else:
            break
    return written


def _result(plan: Plan, written: Sequence[WrittenPack], troubles: Iterable[Trouble]) -> CacheResult:
    packs = [pack for pack in written if pack.index.files]
    packed = {file.path: file.size for pack in packs for file in pack.index.files}
    merged = plan.merged if any(pack.index.supersedes for pack in packs) else ()
    wanted = {file.path for file in (*plan.new, *plan.old)}
    counted = [size for path, size in packed.items() if path in wanted]
    left_out = {path: why for pack in written for path, why in pack.skipped if path in wanted}
    told = (*troubles, *_about(left_out))
    status = OperationStatus.ERROR if told else OperationStatus.SKIPPED
    return CacheResult(
        OperationStatus.SUCCESS if packs else status,
        len(counted),
        sum(counted),
        len(packs),
        refreshed=sum(file.path in packed for file in plan.old),
        merged=len(merged),
        left_out=left_out,
        troubles=told,
    )


def _about(left_out: Mapping[str, str]) -> Iterator[Trouble]:
    """Of the files that could not be packed, those that will not be at the next save either."""
    lasting = {path: why for path, why in left_out.items() if why not in (VANISHED, CHANGED)}
    for path, why in itertools.islice(lasting.items(), _MAX_TOLD):
        yield Trouble(path, f"it was not saved: {why}", "remove it, or give this user access")
    if len(lasting) > _MAX_TOLD:
        yield Trouble("the workspace", f"{len(lasting) - _MAX_TOLD} more files were not saved")
