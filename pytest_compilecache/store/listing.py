"""Lists what can be listed of a store. It takes no part of an environment for the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_compilecache.errors import StoreError
from pytest_compilecache.store.base import LAYOUT, Listing, PartlyListedError, Store

_ENVIRONMENT = 2  # v1/some-environment


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


def list_readable(store: Store) -> Readable:
    """List all environments but those that the medium refuses, also if only in part.

    Without its packs, what is left of one would look like something that nobody needs.

    Raises:
        StoreError: Not even the environments can be listed.
    """
    try:
        return Readable(store.list(LAYOUT), {})
    except PartlyListedError as error:
        unlisted = {environment_of(prefix): each for prefix, each in error.refused.items()}
        hidden = tuple(f"{prefix}/" for prefix in unlisted)
        objects = [each for each in error.listing if not f"{each.key}/".startswith(hidden)]
        return Readable(objects, unlisted)


def environment_of(prefix: str) -> str:
    """The environment's folder that a key or prefix lies in, as ``Readable.unlisted`` names it."""
    return "/".join(prefix.split("/")[:_ENVIRONMENT])
