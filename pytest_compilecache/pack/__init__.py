"""Packs: immutable, compressed, checked archives of artifacts.

Nothing here unpickles, follows a link, or believes a length before it is bounded.
"""

from pytest_compilecache.pack.index import PackFile, PackFrame, PackIndex
from pytest_compilecache.pack.reading import PackReader
from pytest_compilecache.pack.writing import (
    CHANGED,
    OUT_OF_TIME,
    VANISHED,
    PackSource,
    PackTooLargeError,
    WrittenPack,
    write_pack,
)

__all__ = [
    "CHANGED",
    "OUT_OF_TIME",
    "VANISHED",
    "PackFile",
    "PackFrame",
    "PackIndex",
    "PackReader",
    "PackSource",
    "PackTooLargeError",
    "WrittenPack",
    "write_pack",
]
