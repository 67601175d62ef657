"""Unites stores: copies the packs that one lacks and others have. It never changes a source.

A pack is named after what it holds, so that a copy is the same pack, and shards of one
build that saved the same file twice lose nothing when they come together.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pytest_compilecache.errors import PackError
from pytest_compilecache.store.base import ObjectMissingError, Store
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.prune import KnownObject, object_of

_COPIED_AT_ONCE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class United:
    """What was copied from a store.

    Attributes:
        packs: Packs that the target lacked.
        bytes: Their bytes.
        known: Packs that it had already.
        troubles: Packs that are damaged and were left out, each as a sentence.
    """

    packs: int = 0
    bytes: int = 0
    known: int = 0
    troubles: tuple[str, ...] = ()


def unite(target: Store, source: Store, progress: Callable[[int], None] = lambda _: None) -> United:
    """Copy what a target lacks.

    Args:
        target: The store that gets the packs.
        source: The store that has them.
        progress: Called with the bytes of each pack that is done with.

    Raises:
        StoreError: A store cannot be read or written.
    """
    there = {each.key for each in target.list("")}
    packs = copied = known = 0
    troubles: list[str] = []
    for key, size, found in _packs(source):
        if key in there:
            known += 1
        else:
            try:
                _copy(target, source, key, found)
            except (PackError, ObjectMissingError) as error:
                troubles.append(str(error))
            else:
                packs, copied = packs + 1, copied + size
        progress(size)
    return United(packs, copied, known, tuple(troubles))


def size_of(source: Store) -> int:
    """The bytes of all packs of a store, in its listing."""
    return sum(size for _, size, _ in _packs(source))


def _packs(store: Store) -> Iterator[tuple[str, int, KnownObject]]:
    for each in store.list(""):
        found = object_of(each.key)
        if found is not None and found.pack:
            yield each.key, each.size, found


def _copy(target: Store, source: Store, key: str, found: KnownObject) -> None:
    catalog = Catalog(source, found.environment)
    # Before its description is there, nobody would find out why its packs do not fit.
    description = catalog.environments().get(found.environment)
    if description is not None:
        Catalog(target, found.environment).describe(description)
    with catalog.open_pack(found.pack) as reader:
        damaged = reader.damaged()
    if damaged:
        path, reason = next(iter(damaged.items()))
        raise PackError(key, f"it is damaged ({path}: {reason})", "it is left out")
    with source.open(key) as file, target.stage() as staged:
        shutil.copyfileobj(file, staged.file, _COPIED_AT_ONCE)
        staged.publish(key)
