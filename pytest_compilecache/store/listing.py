"""What the keys of a store name, and what can be listed of it.

It takes no part of an environment for the whole, and reads nothing but keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pytest_compilecache.errors import StoreError
from pytest_compilecache.pack.index import ENVIRONMENT_ID
from pytest_compilecache.store.base import LAYOUT, Listing, PartlyListedError, Store, StoredObject

_ENVIRONMENT = 2  # v1/some-environment
_KEY = re.compile(
    rf"{LAYOUT}/(?P<environment>{ENVIRONMENT_ID})/"
    r"(?:packs/(?P<pack>[0-9a-f]{64})\.pack|suspect/(?P<suspect>[0-9a-f]{64})|environment\.json)"
)


@dataclass(frozen=True, slots=True)
class Readable:
    """What could be listed.

    Attributes:
        objects: The objects of environments of which everything could be listed.
        unlisted: The others, each with what the medium said.
    """

    objects: Listing
    unlisted: Mapping[str, StoreError]

    @property
    def troubles(self) -> list[str]:
        """Why each of the others could not be listed, as a sentence."""
        return [str(error) for error in self.unlisted.values()]


def list_readable(store: Store, environment: str | None = None) -> Readable:
    """List all environments but those that the medium refuses, also if only in part.

    Without its packs, what is left of one would look like something that nobody needs.

    Args:
        store: The store.
        environment: The one to list; by default all.

    Raises:
        StoreError: Not even the environments can be listed.
    """
    try:
        return Readable(store.list(f"{LAYOUT}/{environment}" if environment else LAYOUT), {})
    except PartlyListedError as error:
        unlisted = {environment_of(prefix): each for prefix, each in error.refused.items()}
        hidden = tuple(f"{prefix}/" for prefix in unlisted)
        objects = [each for each in error.listing if not f"{each.key}/".startswith(hidden)]
        return Readable(objects, unlisted)


def environment_of(prefix: str) -> str:
    """The environment's folder that a key or prefix lies in, as ``Readable.unlisted`` names it."""
    return "/".join(prefix.split("/")[:_ENVIRONMENT])


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
