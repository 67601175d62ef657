"""Adds to a store what is new, renews what is old and used, and takes over packs that pile up.

Nothing is taken away here before it stands elsewhere. A save whose time is up publishes whole
packs of what it had until then, and says what is missing.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

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
    OUT_OF_TIME,
    VANISHED,
    PackSource,
    PackTooLargeError,
    WrittenPack,
)
from pytest_compilecache.results import (
    TIME_LIMIT_REMEDY,
    CacheResult,
    OperationStatus,
    Trouble,
)
from pytest_compilecache.store.base import StoreAccessError
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.prune import prune
from pytest_compilecache.store.staging import StoreFullError
from pytest_compilecache.workspace.heal import Healed
from pytest_compilecache.workspace.scan import WorkspaceFile

# Artifacts compress to a third or less; what does not gets all that it asks for.
_SHARES_OF_WHAT_IS_NEEDED = (0.4, 1.1)
_LEFT_OVER = 8
_CLOCKS_AGREE_SECONDS = 3600.0
_MAX_NAMED = 3
_INDEX_BYTES = 4096  # of a small pack, and of a description


def save_to(
    catalog: Catalog,
    environment: Environment,
    healed: Healed,
    limits: Limits,
    deadline: float,
    seconds: float,
) -> CacheResult:
    """Write what the plan says, until a deadline, which allows for so many seconds.

    Raises:
        CompileCacheError: The store cannot be read or written, or has no room.
        OSError: The workspace cannot be read.
    """
    contents = read_contents(catalog, deadline)
    twins = find_twins(healed, contents, deadline)
    plan = make_plan(contents, healed.whole, time.time(), limits, twins)
    task = _Saving(catalog, limits, deadline, seconds)
    task.left_out.update(dict.fromkeys(sorted({*healed.unjudged} - contents.paths()), OUT_OF_TIME))
    if plan.new or plan.old:
        _write_plan(task, environment, plan)
    if task.packs or contents.notes:  # a pack with a note is read whole until it is pruned
        _tidy_up(task, contents)
    result = _result(task, plan, contents.troubles)
    return replace(result, duplicates=len(twins) - len(healed.twins) if task.packs else 0)


@dataclass(slots=True)
class _Saving:
    """What is being saved, and what came of it so far."""

    catalog: Catalog
    limits: Limits
    deadline: float
    seconds: float
    packs: list[WrittenPack] = field(default_factory=list)
    packed: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    remedies: dict[str, str] = field(default_factory=dict)

    def write(self, files: Iterable[WorkspaceFile], supersedes: tuple[str, ...] = ()) -> None:
        """Write one pack."""
        sources = [PackSource(file.path, file.location) for file in files]
        for attempt in range(2):
            try:
                written = self.catalog.publish(
                    sources,
                    created=time.time(),
                    supersedes=supersedes,
                    max_bytes=self.limits.pack_bytes,
                    deadline=self.deadline,
                )
            except StoreAccessError as error:
                # On a file system without kernel locks, a writer that was stopped for long
                # is taken for dead, and finds its file gone when it wakes.
                if error.errno != errno.ENOENT or attempt:
                    raise
            else:
                break
        self.left_out.update(written.skipped)
        if written.index.files:
            self.packs.append(written)
            self.packed.update((file.path, file.size) for file in written.index.files)

    def leave_out(self, paths: Iterable[str], reason: str, remedy: str) -> None:
        self.remedies[reason] = remedy
        self.left_out.update(dict.fromkeys(paths, reason))


def _write_plan(task: _Saving, environment: Environment, plan: Plan) -> None:
    """Write; where the store's limit leaves no room, make some, and in the end write what fits."""
    limits, catalog = task.limits, task.catalog
    wanted = (*plan.new, *plan.old)
    needed = sum(file.size for file in wanted)
    for share in _SHARES_OF_WHAT_IS_NEEDED:
        try:
            catalog.describe(environment.to_json())
            _write_merged(task, plan)
        except StoreFullError:
            if limits.store_bytes is None:
                raise
            left = max(limits.store_bytes - int(share * needed) - _INDEX_BYTES, 0)
            lower = replace(limits, store_bytes=left)
            prune(catalog.store, lower, environment=catalog.environment_id, deadline=task.deadline)
        else:
            return
    if limits.split:
        _write_fitting(task, sorted(wanted, key=recency, reverse=True))
    else:
        _write_merged(task, plan)


def _write_merged(task: _Saving, plan: Plan) -> None:
    """Write with what is merged, or where that is too much, without."""
    if plan.merged:
        with contextlib.suppress(PackTooLargeError, StoreFullError):
            task.write(plan.files, plan.supersedes)
            return
    _write_split(task, (*plan.new, *plan.old))


def _write_split(task: _Saving, files: Sequence[WorkspaceFile]) -> None:
    """Write files as one pack, or as several where one would be too large."""
    files = [file for file in files if file.path not in task.packed]  # by an earlier attempt
    if not files:
        return
    try:
        task.write(files)
    except PackTooLargeError as error:
        if not task.limits.split:
            raise
        if len(files) == 1:  # which is no reason to lose the others
            task.leave_out([files[0].path], error.reason, error.remedy)
            return
        half = _half(files)
        _write_split(task, files[:half])
        _write_split(task, files[half:])


def _write_fitting(task: _Saving, files: Sequence[WorkspaceFile]) -> StoreFullError | None:
    """Write what there is room for, the first files first; returns why that was not all."""
    try:
        _write_split(task, files)
    except StoreFullError as error:
        full = error
    else:
        return None
    if len(files) == 1:
        rest = files
    else:
        half = _half(files)
        if (found := _write_fitting(task, files[:half])) is None:
            return _write_fitting(task, files[half:])
        rest, full = files[half:], found
    task.leave_out((file.path for file in rest), full.reason, full.remedy)
    return full


def _half(files: Sequence[WorkspaceFile]) -> int:
    """Where to cut so that both parts have about the same bytes."""
    total = sum(file.size for file in files)
    so_far = 0
    for position, file in enumerate(files[:-1], start=1):
        so_far += file.size
        if 2 * so_far >= total:
            return position
    return max(len(files) - 1, 1)


def _tidy_up(task: _Saving, contents: Contents) -> None:
    """Prune this environment where there is enough to prune."""
    now, limits, catalog = time.time(), task.limits, task.catalog
    # Not after each merge: what stays is read whole before anything goes.
    much = contents.left_over(now - limits.grace_seconds) >= _LEFT_OVER * limits.fan
    if not much and not contents.is_overdue(now, limits):
        return
    with contextlib.suppress(CompileCacheError):  # it is only tidying up
        # A machine whose clock is wrong has just judged by it what is used, and what is renewed.
        if abs(catalog.store.clock() - now) < _CLOCKS_AGREE_SECONDS:
            prune(catalog.store, limits, environment=catalog.environment_id, deadline=task.deadline)


def _result(task: _Saving, plan: Plan, troubles: Iterable[Trouble]) -> CacheResult:
    packed = task.packed
    merged = plan.merged if any(pack.index.supersedes for pack in task.packs) else ()
    wanted = {file.path for file in (*plan.new, *plan.old)}
    counted = [size for path, size in packed.items() if path in wanted]
    left_out = {path: why for path, why in task.left_out.items() if path not in packed}
    missing = _missing(task, left_out)
    status = OperationStatus.SUCCESS if task.packs else OperationStatus.SKIPPED
    return CacheResult(
        OperationStatus.ERROR if missing else status,
        len(counted),
        sum(counted),
        len(task.packs),
        refreshed=sum(file.path in packed for file in plan.old),
        merged=len(merged),
        left_out=left_out,
        troubles=(*troubles, *missing),
    )


def _missing(task: _Saving, left_out: dict[str, str]) -> list[Trouble]:
    """What could not be saved, by the reason; not what a compiler is still at work on."""
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for path, why in left_out.items():
        if why not in (VANISHED, CHANGED):
            by_reason[why].append(path)
    found = []
    for why, paths in by_reason.items():
        remedy = task.remedies.get(why, "remove it, or give this user access")
        if why == OUT_OF_TIME:
            why, remedy = f"{OUT_OF_TIME} ({task.seconds:.0f} s)", TIME_LIMIT_REMEDY  # noqa: PLW2901
        if len(paths) == 1:
            found.append(Trouble(paths[0], f"it was not saved: {why}", remedy))
            continue
        names = ", ".join(paths[:_MAX_NAMED]) + (", …" if len(paths) > _MAX_NAMED else "")
        found.append(Trouble(f"{len(paths)} files", f"not saved: {why} ({names})", remedy))
    return found
