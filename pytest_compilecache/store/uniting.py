"""Unites stores: copies the packs that one lacks and others have. It never changes a source.

A pack is named after what it holds, so that a copy is the same pack, and shards of one
build that saved the same file twice lose nothing when they come together.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from pytest_compilecache.errors import PackError, StoreError
from pytest_compilecache.store.base import Store
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.listing import KnownObject, environment_of, list_readable, packs_in

_COPIED_AT_ONCE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class United:
    """What was copied from a store.

    Attributes:
        packs: Packs that the target lacked.
        bytes: Their bytes.
        known: Packs that it had already.
        troubles: What was left out, each as a sentence: a pack that is damaged or cannot be
            read, or an environment of either store that cannot be listed.
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
        StoreError: A store cannot be listed at all, or the target cannot be written.
    """
    there, offered = list_readable(target), list_readable(source)
    known_keys = {each.key for each in there.objects}
    packs = copied = known = 0
    # A dictionary, for its order: an environment is told once, not with each of its packs.
    troubles = dict.fromkeys(offered.troubles)
    for each, found in packs_in(offered.objects):
        hidden = there.unlisted.get(environment_of(each.key))
        if each.key in known_keys:
            known += 1
        elif hidden is not None:
            troubles[str(hidden)] = None
        elif (trouble := _copied(target, source, each.key, found)) is not None:
            troubles[trouble] = None
        else:
            packs, copied = packs + 1, copied + each.size
        progress(each.size)
    return United(packs, copied, known, tuple(troubles))


def size_of(source: Store) -> int:
    """The bytes of all packs of a store that can be listed."""
    return sum(each.size for each, _ in packs_in(list_readable(source).objects))


def _copied(target: Store, source: Store, key: str, found: KnownObject) -> str | None:
    """Copy a pack. When the source has none that is whole, say why instead."""
    try:
        _check(Catalog(source, found.environment), key, found.pack)
        file = source.open(key)
    except (PackError, StoreError) as error:
        return str(error)
    with file:
        # Before its description is there, nobody would find out why its packs do not fit.
        description = Catalog(source, found.environment).description()
        if description is not None:
            Catalog(target, found.environment).describe(description)
        with target.stage() as staged:
            shutil.copyfileobj(file, staged.file, _COPIED_AT_ONCE)
            staged.publish(key)
    return None


def _check(catalog: Catalog, key: str, pack: str) -> None:
    with catalog.open_pack(pack) as reader:
        damaged = reader.damaged()
    if damaged:
        path, reason = next(iter(damaged.items()))
        raise PackError(key, f"it is damaged ({path}: {reason})", "it is left out")
