"""Deletes what no session needs. The only place that takes anything from a store.

What is younger than the grace period stays: a reader may have listed it, a saver
may count on it. What another pack took over goes only when all of it was read
elsewhere, in packs that stay.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pytest_compilecache.errors import PackError, StoreError
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.pack.paths import cache_key_of
from pytest_compilecache.store.base import ObjectMissingError, Store, StoredObject
from pytest_compilecache.store.catalog import Catalog, PackRef
from pytest_compilecache.store.listing import list_readable, object_of


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was deleted.

    Attributes:
        deleted: The keys.
        bytes: Their bytes.
        kept: How many packs are left, of the environments that were pruned.
        troubles: What is damaged, and what could not be read or deleted, each as a sentence.
        unlisted: The environments that were left as they are, because they cannot be listed.
        undeleted: The keys that should have been deleted, and could not.
        finished: Whether all was looked at, and not only what there was time for.
    """

    deleted: tuple[str, ...] = ()
    bytes: int = 0
    kept: int = 0
    troubles: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    undeleted: tuple[str, ...] = ()
    finished: bool = True


@dataclass(slots=True)
class _Shelf:
    """What a store holds of one environment."""

    packs: dict[str, StoredObject] = field(default_factory=dict)
    suspects: dict[str, StoredObject] = field(default_factory=dict)
    description: StoredObject | None = None


class _TimeUpError(Exception):
    pass


@dataclass(slots=True)
class _Deleting:
    store: Store
    deadline: float
    gone: dict[str, StoredObject] = field(default_factory=dict)
    undeleted: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def check_time(self) -> None:
        if time.monotonic() >= self.deadline:
            raise _TimeUpError

    def delete(self, each: StoredObject) -> None:
        """Delete an object, or note why it cannot be deleted: it may be another user's."""
        self.check_time()
        try:
            self.store.delete(each.key)
        except StoreError as error:
            self.troubles.append(str(error))
            self.undeleted.append(each.key)
        else:
            self.gone[each.key] = each

    def is_left(self, each: StoredObject) -> bool:
        return each.key not in self.gone and each.key not in self.undeleted


def prune(
    store: Store,
    limits: Limits = DEFAULT_LIMITS,
    *,
    environment: str | None = None,
    deadline: float = math.inf,
) -> PruneResult:
    """Delete packs that were taken over, that are damaged, too old, or over the limit.

    Args:
        store: The store.
        limits: How old packs may become, and what all of them may take.
        environment: The one environment whose packs may be deleted, as a session does it;
            by default all. The limit is on the whole store in either case.
        deadline: When to stop, by ``time.monotonic``. What is not done by then, the next one does.

    Raises:
        StoreError: The store cannot be listed, or nothing can be written to it.
    """
    started, now = time.monotonic(), store.clock()  # the clock removes what killed writers left
    readable = list_readable(store, environment if limits.store_bytes is None else None)
    shelves = _shelves(readable.objects)
    size = sum(each.size for each in readable.objects)
    if environment is not None:
        shelves = {environment: shelves.get(environment, _Shelf())}
    packs = [pack for shelf in shelves.values() for pack in shelf.packs.values()]
    deleting = _Deleting(store, deadline, troubles=readable.troubles)
    finished = False
    with contextlib.suppress(_TimeUpError):
        for name, shelf in shelves.items():
            for each in _unneeded(Catalog(store, name), shelf, now, limits, deleting):
                deleting.delete(each)
        size -= sum(each.size for each in deleting.gone.values())
        for each in _over_limit(packs, size, now, limits, deleting):
            deleting.delete(each)
        for each in _left_behind(shelves, now, limits, deleting):
            deleting.delete(each)
        finished = True
    if not finished:
        seconds = f"{deadline - started:.0f} s, its time limit"
        deleting.troubles.append(f"{store.url}: pruning was not finished within {seconds}")
    return PruneResult(
        deleted=tuple(deleting.gone),
        bytes=sum(each.size for each in deleting.gone.values()),
        kept=sum(pack.key not in deleting.gone for pack in packs),
        troubles=tuple(deleting.troubles),
        unlisted=tuple(readable.unlisted),
        undeleted=tuple(deleting.undeleted),
        finished=finished,
    )


def _shelves(listing: Iterable[StoredObject]) -> dict[str, _Shelf]:
    """What the store holds by environment, without what is not ours."""
    shelves: defaultdict[str, _Shelf] = defaultdict(_Shelf)
    for each in listing:
        found = object_of(each.key)
        if found is None:
            continue
        shelf = shelves[found.environment]
        if found.pack:
            shelf.packs[found.pack] = each
        elif found.suspect:
            shelf.suspects[found.suspect] = each
        else:
            shelf.description = each
    return dict(shelves)


def _unneeded(
    catalog: Catalog, shelf: _Shelf, now: float, limits: Limits, deleting: _Deleting
) -> Iterator[StoredObject]:
    """What can go, first what is known without reading: time may be short."""
    old = {
        name: each
        for name, each in shelf.packs.items()
        if now - each.modified > limits.keep_seconds
    }
    yield from old.values()
    ripe = {
        name: each
        for name, each in shelf.packs.items()
        if name not in old and now - each.modified > limits.grace_seconds
    }
    noted = [name for name in shelf.suspects if name in shelf.packs]
    bad, unread = _damaged(catalog, noted, deleting)
    yield from (ripe[name] for name in bad if name in ripe)
    # Decided as a whole before the first of them is deleted: each counts on what stays.
    yield from [ripe[name] for name in _taken_over(catalog, shelf, ripe, {*old, *bad}, deleting)]
    for name, note in shelf.suspects.items():
        going = name not in shelf.packs or name in old or (name in bad and name in ripe)
        answered = going or name not in {*bad, *unread}
        if answered and now - note.modified > limits.grace_seconds:
            yield note


def _damaged(
    catalog: Catalog, names: Iterable[str], deleting: _Deleting
) -> tuple[dict[str, str], set[str]]:
    """The packs that are damaged indeed, each with the reason, and those that cannot be read.

    These may be whole: a disk, or a mount, may be well again tomorrow.
    """
    found: dict[str, str] = {}
    unread: set[str] = set()
    for name in names:
        deleting.check_time()
        try:
            with catalog.open_pack(name) as reader:
                reasons = set(reader.damaged().values())
                if reasons:
                    found[name] = "; ".join(sorted(reasons))
        except ObjectMissingError:
            continue
        except PackError as error:
            found[name] = error.reason
        except StoreError as error:
            unread.add(name)
            deleting.troubles.append(str(error))
    deleting.troubles.extend(f"{name}: {reason}" for name, reason in found.items())
    return found, unread


def _taken_over(
    catalog: Catalog, shelf: _Shelf, ripe: Iterable[str], going: set[str], deleting: _Deleting
) -> Iterator[str]:
    """The packs that others took over and whose whole content was read in those that stay."""
    superseded: set[str] = set()
    refs = [
        PackRef(name, each.size, each.modified)
        for name, each in shelf.packs.items()
        if name not in going
    ]
    live: list[PackRef] = []
    for ref, reader in catalog.readable(refs, superseded):
        deleting.check_time()
        if reader is not None:
            live.append(ref)
    candidates = superseded.intersection(ripe).difference(going, (ref.name for ref in live))
    wanted = {name: _paths(catalog, name) for name in sorted(candidates)}
    known = {name: paths for name, paths in wanted.items() if paths is not None}
    cover = _read_cover(catalog, live, set().union(*known.values()), deleting)
    for name, paths in known.items():
        if cover.covers(name, paths):
            yield name


@dataclass(slots=True)
class _Cover:
    """What was read, whole, in packs that stay.

    Attributes:
        paths: The files.
        keys: For each pack that was taken over, the keys of which its successors hold an
            entry. Of entries that say the same they hold one; another pack's may differ.
    """

    paths: set[str] = field(default_factory=set)
    keys: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def covers(self, name: str, paths: Iterable[str]) -> bool:
        """Whether nothing of a pack is lost with it."""
        return all(path in self.paths or cache_key_of(path) in self.keys[name] for path in paths)


def _read_cover(
    catalog: Catalog, live: Iterable[PackRef], wanted: set[str], deleting: _Deleting
) -> _Cover:
    cover = _Cover()
    for ref in live:
        if not wanted:
            break
        deleting.check_time()
        with contextlib.suppress(StoreError, PackError), catalog.open_pack(ref) as reader:
            supersedes = reader.index.supersedes
            if not supersedes and wanted.isdisjoint(file.path for file in reader.index.files):
                continue
            damaged = reader.damaged()
            whole = {file.path for file in reader.index.files if file.path not in damaged}
            cover.paths |= whole
            for name in supersedes:
                cover.keys[name] |= {key for path in whole if (key := cache_key_of(path))}
    return cover


def _paths(catalog: Catalog, name: str) -> set[str] | None:
    """The paths in a pack; None where they cannot be told."""
    try:
        with catalog.open_pack(name) as reader:
            return {file.path for file in reader.index.files}
    except (ObjectMissingError, PackError):
        return set()  # gone, or it holds nothing that anybody could read
    except StoreError:
        return None


def _over_limit(
    packs: Iterable[StoredObject], size: int, now: float, limits: Limits, deleting: _Deleting
) -> Iterator[StoredObject]:
    """The oldest packs, until a store of this size is within the limit."""
    if limits.store_bytes is None:
        return
    staying = filter(deleting.is_left, packs)
    for pack in sorted(staying, key=lambda each: (each.modified, each.key)):
        if size <= limits.store_bytes:
            return
        if now - pack.modified > limits.grace_seconds:
            size -= pack.size
            yield pack


def _left_behind(
    shelves: dict[str, _Shelf], now: float, limits: Limits, deleting: _Deleting
) -> Iterator[StoredObject]:
    """Descriptions of environments that have no pack any more."""
    for shelf in shelves.values():
        each = shelf.description
        empty = not any(map(deleting.is_left, shelf.packs.values()))
        if each is not None and empty and now - each.modified > limits.keep_seconds:
            yield each
