"""Whether a store has something to prune, by its listing. It opens and deletes nothing."""

from __future__ import annotations

from pytest_compilecache.limits import Limits
from pytest_compilecache.store.base import LAYOUT, Store
from pytest_compilecache.store.objects import object_of


def is_overdue(store: Store, now: float, limits: Limits) -> bool:
    """Whether a pack is expired, or a note on one can be looked at.

    Packs of every environment count: nobody may ever save to one again that was left behind
    by an upgrade.

    Args:
        store: The store.
        now: The time, in seconds since 1970, by the store's clock.
        limits: How old packs and notes may become.

    Raises:
        StoreError: The store cannot be listed.
    """
    for each in store.list(LAYOUT):
        found = object_of(each.key)
        if found is None:
            continue
        age = now - each.modified
        if (found.pack and age > limits.keep_seconds) or (
            found.suspect and age > limits.grace_seconds
        ):
            return True
    return False
