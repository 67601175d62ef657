"""What a store is. It knows names and bytes, never what they mean."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol, SupportsIndex, TypeAlias

from pytest_compilecache.errors import StoreError

LAYOUT = "v1"
MAX_KEY = 900  # S3 takes 1024 bytes, and a bucket's own prefix comes before
_KEY = re.compile(rf"{LAYOUT}(?:/[A-Za-z0-9_][A-Za-z0-9._+-]*)+")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing shows it.

    Attributes:
        key: Its key.
        size: Its bytes.
        modified: When it was published, in seconds since 1970 by the store's clock.
    """

    key: str
    size: int
    modified: float


Listing: TypeAlias = list[StoredObject]  # inside Store, `list` is its own verb


class StoreAccessError(StoreError):
    """The medium of a store refused something.

    Attributes:
        errno: The system's number for why.
    """

    def __init__(
        self, subject: object, reason: str, remedy: str = "", *, code: int | None = None
    ) -> None:
        super().__init__(subject, reason, remedy)
        self.errno = code

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return *self.__reduce__(), {"errno": self.errno}


class PartlyListedError(StoreAccessError):
    """The medium refused some folders of a listing: another user's, or on a bad disk.

    Attributes:
        listing: What could be listed.
        refused: The folders, as prefixes, each with its trouble.
    """

    listing: Sequence[StoredObject] = ()
    refused: Mapping[str, StoreError] = MappingProxyType({})

    @classmethod
    def of(cls, listing: Listing, refused: Mapping[str, StoreAccessError]) -> PartlyListedError:
        """The error for what was refused, which is told by the first."""
        first = next(iter(refused.values()))
        error = cls(first.subject, first.reason, first.remedy, code=first.errno)
        error.listing, error.refused = listing, refused
        return error


class ObjectMissingError(StoreError, FileNotFoundError):
    """The store has no object of that key, or has it no longer."""

    def __init__(
        self,
        subject: object,
        reason: str = "the store has no such object",
        remedy: str = "list the store again: it may have been pruned meanwhile",
    ) -> None:
        super().__init__(subject, reason, remedy)
        self.errno = errno.ENOENT


class Staged(Protocol):
    """An object that is being written.

    Attributes:
        file: Where its bytes are written to, from the first to the last.
    """

    @property
    def file(self) -> BinaryIO:
        """Where its bytes are written to."""

    def publish(self, key: str) -> bool:
        """Make what was written visible under a key, once.

        Returns:
            True when this call made the object, False when there was one of
            that key already, which is left as it is.
        """


class Store(Protocol):
    """Objects under keys, such as ``v1/some-environment/packs/<digest>.pack``.

    A key is made of components of ASCII letters, digits and ``._+-``, none of
    which begins with a dot, plus or minus; the first is always ``v1``. What lies
    beside ``v1`` is not the store's: it is neither listed, nor counted, nor touched.

    Promised:
        * An object is visible whole or not at all, and when ``publish`` has
          returned, it outlives a power failure.
        * An object is never changed. Of those that race to publish one key, the
          first wins and the others are told; nobody overwrites it.
        * What was staged and not published is never listed nor opened, also
          when its process was killed.
        * An object that was opened can be read to its end, or reading raises.
        * Trouble is a ``StoreError`` with reason and remedy.

        * What a killed process had staged is removed, at the latest when a later
          one stages something; what a live one stages is not.

    Not promised:
        * A listing is no snapshot: it may or may not show what is published or
          deleted meanwhile, and what it shows may be gone.
        * ``modified`` is by the store's clock, which may differ from ours.
        * Nothing says who wrote an object, nor that its content is what its
          name says. Readers check both.
        * No locks, no renaming, no appending.

    Attributes:
        url: Where it is, as a person would name it.
    """

    @property
    def url(self) -> str:
        """Where it is, as a person would name it."""

    def list(self, prefix: str) -> Listing:
        """All objects below a prefix, sorted by key.

        Raises:
            PartlyListedError: Some folders could not be listed; it has the rest.

        Args:
            prefix: Whole components, such as ``v1/some-environment``; ``v1`` lists
                everything. A prefix that does not exist holds nothing.
        """

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; the file is seekable and the caller closes it.

        Raises:
            ObjectMissingError: There is none.
        """

    def stage(self) -> AbstractContextManager[Staged]:
        """Begin an object; what is not published inside the context is dropped."""

    def delete(self, key: str) -> None:
        """Remove an object, or do nothing when it is missing."""

    def clock(self) -> float:
        """Now, in seconds since 1970, by the clock that ``modified`` is of.

        Raises:
            StoreError: It cannot be told without writing, and the store cannot be written.
        """


def check_key(key: str) -> str:
    """The same key, when it is one.

    Raises:
        StoreError: It is none, and might lead out of the store.
    """
    if not is_key(key):
        remedy = f"{LAYOUT}/ comes first, then letters, digits and ._+- between single slashes"
        raise StoreError(f"{key!r:.200}", "it cannot be a key in a store", remedy)
    return key


def check_prefix(prefix: str) -> str:
    """The same prefix, when it is one.

    Raises:
        StoreError: It is none, and might lead to what is not the store's.
    """
    return prefix if prefix == LAYOUT else check_key(prefix)


def is_key(key: str) -> bool:
    """Whether a store could hold an object of this key."""
    return len(key) <= MAX_KEY and _KEY.fullmatch(key) is not None
