"""What the keys in a store name. Nothing is read but the keys themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytest_compilecache.pack.index import ENVIRONMENT_ID
from pytest_compilecache.store.base import LAYOUT, StoredObject

_KEY = re.compile(
    rf"{LAYOUT}/(?P<environment>{ENVIRONMENT_ID})/"
    r"(?:packs/(?P<pack>[0-9a-f]{64})\.pack|suspect/(?P<suspect>[0-9a-f]{64})|environment\.json)"
)


@dataclass(frozen=True, slots=True)
class KnownObject:
    """What a key of this layout names.

    Attributes:
        environment: The environment.
        pack: The pack, or empty.
        suspect: The pack that a note is about, or empty.
    """

    environment: str
    pack: str = ""
    suspect: str = ""


def object_of(key: str) -> KnownObject | None:
    """What a key names, or None when it is not of this layout."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    return KnownObject(match["environment"], match["pack"] or "", match["suspect"] or "")


def packs_in(listing: Iterable[StoredObject]) -> Iterator[tuple[StoredObject, KnownObject]]:
    """The packs of a listing, each with what its key names."""
    for each in listing:
        found = object_of(each.key)
        if found is not None and found.pack:
            yield each, found
