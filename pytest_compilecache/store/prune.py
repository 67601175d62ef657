"""Deletes what nobody needs. The only place that takes anything from a store.

What is younger than the grace period stays: a reader may have listed it, a saver
may count on it. What another pack took over goes only when all of it was read
elsewhere, in packs that stay.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pytest_compilecache.errors import PackError, StoreError
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.pack.paths import cache_key_of
from pytest_compilecache.store.base import ObjectMissingError, Store, StoredObject
from pytest_compilecache.store.catalog import Catalog, PackRef
from pytest_compilecache.store.listing import list_readable
from pytest_compilecache.store.objects import object_of


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was deleted.

    Attributes:
        deleted: The keys.
        bytes: Their bytes.
        kept: How many packs are left.
        troubles: What is damaged, and what could not be read or deleted, each as a sentence.
        unlisted: The environments that were left as they are, because they cannot be listed.
        undeleted: The keys that should have been deleted, and could not.
    """

    deleted: tuple[str, ...] = ()
    bytes: int = 0
    kept: int = 0
    troubles: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    undeleted: tuple[str, ...] = ()


@dataclass(slots=True)
class _Shelf:
    """What a store holds of one environment."""

    packs: dict[str, StoredObject] = field(default_factory=dict)
    suspects: dict[str, StoredObject] = field(default_factory=dict)
    description: StoredObject | None = None


def prune(store: Store, limits: Limits = DEFAULT_LIMITS) -> PruneResult:
    """Delete packs that were taken over, that are damaged, too old, or over the limit.

    Args:
        store: The store.
        limits: How old packs may become, and what they may take.

    Raises:
        StoreError: The store cannot be listed, or nothing can be written to it.
    """
    now = store.clock()  # first: it removes what killed writers left, too
    readable = list_readable(store)
    listing = readable.objects
    shelves = _shelves(listing)
    troubles = readable.troubles
    doomed: dict[str, StoredObject] = {}
    for environment, shelf in shelves.items():
        catalog = Catalog(store, environment)
        for each in _unneeded(catalog, shelf, now, limits, troubles):
            doomed[each.key] = each
    packs = [pack for shelf in shelves.values() for pack in shelf.packs.values()]
    size = sum(each.size for each in listing if each.key not in doomed)
    for each in _over_limit(packs, doomed, size, now, limits):
        doomed[each.key] = each
    for each in _left_behind(shelves, doomed, now, limits):
        doomed[each.key] = each
    gone = _deleted(store, doomed, troubles)
    return PruneResult(
        deleted=tuple(gone),
        bytes=sum(doomed[key].size for key in gone),
        kept=sum(pack.key not in gone for pack in packs),
        troubles=tuple(troubles),
        unlisted=tuple(readable.unlisted),
        undeleted=tuple(key for key in doomed if key not in gone),
    )


def _deleted(store: Store, keys: Iterable[str], troubles: list[str]) -> dict[str, None]:
    """Delete what can be deleted, and tell of the rest: it may be another user's."""
    gone: dict[str, None] = {}
    for key in keys:
        try:
            store.delete(key)
        except StoreError as error:
            troubles.append(str(error))
        else:
            gone[key] = None
    return gone


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
    catalog: Catalog, shelf: _Shelf, now: float, limits: Limits, troubles: list[str]
) -> Iterator[StoredObject]:
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
    bad, unread = _damaged(catalog, noted, troubles)
    yield from (ripe[name] for name in bad if name in ripe)
    yield from (ripe[name] for name in _taken_over(catalog, shelf, ripe, {*old, *bad}))
    for name, note in shelf.suspects.items():
        going = name not in shelf.packs or name in old or (name in bad and name in ripe)
        answered = going or name not in {*bad, *unread}
        if answered and now - note.modified > limits.grace_seconds:
            yield note


def _damaged(
    catalog: Catalog, names: Iterable[str], troubles: list[str]
) -> tuple[dict[str, str], set[str]]:
    """The packs that are damaged indeed, each with the reason, and those that cannot be read.

    These may be whole: a disk, or a mount, may be well again tomorrow.
    """
    found: dict[str, str] = {}
    unread: set[str] = set()
    for name in names:
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
            troubles.append(str(error))
    troubles.extend(f"{name}: {reason}" for name, reason in found.items())
    return found, unread


def _taken_over(
    catalog: Catalog, shelf: _Shelf, ripe: Iterable[str], going: set[str]
) -> Iterator[str]:
    """The packs that others took over and whose whole content was read in those that stay."""
    superseded: set[str] = set()
    refs = [
        PackRef(name, each.size, each.modified)
        for name, each in shelf.packs.items()
        if name not in going
    ]
    live = [ref for ref, reader in catalog.readable(refs, superseded) if reader is not None]
    candidates = superseded.intersection(ripe).difference(going, (ref.name for ref in live))
    wanted = {name: _paths(catalog, name) for name in sorted(candidates)}
    known = {name: paths for name, paths in wanted.items() if paths is not None}
    cover = _read_cover(catalog, live, set().union(*known.values()))
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


def _read_cover(catalog: Catalog, live: Iterable[PackRef], wanted: set[str]) -> _Cover:
    cover = _Cover()
    for ref in live:
        if not wanted:
            break
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
    packs: Iterable[StoredObject],
    doomed: dict[str, StoredObject],
    size: int,
    now: float,
    limits: Limits,
) -> Iterator[StoredObject]:
    """The oldest packs, until a store of this size is within the limit."""
    if limits.store_bytes is None:
        return
    staying = [pack for pack in packs if pack.key not in doomed]
    for pack in sorted(staying, key=lambda each: (each.modified, each.key)):
        if size <= limits.store_bytes:
            return
        if now - pack.modified > limits.grace_seconds:
            size -= pack.size
            yield pack


def _left_behind(
    shelves: dict[str, _Shelf], doomed: dict[str, StoredObject], now: float, limits: Limits
) -> Iterator[StoredObject]:
    """Descriptions of environments that have no pack any more."""
    for shelf in shelves.values():
        each = shelf.description
        empty = all(pack.key in doomed for pack in shelf.packs.values())
        if each is not None and empty and now - each.modified > limits.keep_seconds:
            yield each
