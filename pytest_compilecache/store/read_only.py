"""A store that is only read, whatever the medium would allow."""

from __future__ import annotations

import errno
from contextlib import AbstractContextManager
from typing import BinaryIO, NoReturn

from pytest_compilecache.store.base import Listing, Staged, Store, StoreAccessError


class ReadOnlyStore:
    """The same objects, with no way to add or delete one.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def url(self) -> str:
        """Where it is, as a person would name it."""
        return self._store.url

    def list(self, prefix: str) -> Listing:
        """All objects below a prefix, sorted by key."""
        return self._store.list(prefix)

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading."""
        return self._store.open(key)

    def stage(self) -> AbstractContextManager[Staged]:
        """Refuse."""
        self._refuse()

    def delete(self, key: str) -> None:  # noqa: ARG002
        """Refuse."""
        self._refuse()

    def clock(self) -> float:
        """Refuse: a store's clock is read by writing."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StoreAccessError(
            self.url,
            "this store is only read here",
            "let a build that may save do it",
            code=errno.EROFS,
        )
