"""Stores: where packs are kept, and how one is opened. Nothing here looks into a workspace."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.store.base import (
    ObjectMissingError,
    Staged,
    Store,
    StoreAccessError,
    StoredObject,
)
from pytest_compilecache.store.directory import DirectoryStore
from pytest_compilecache.store.read_only import ReadOnlyStore

__all__ = [
    "DirectoryStore",
    "ObjectMissingError",
    "ReadOnlyStore",
    "Staged",
    "Store",
    "StoreAccessError",
    "StoredObject",
    "folder_of",
    "open_store",
]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_NO_FOLDER = "it names no folder that could be a store"
_REMEDY = "name a folder, or write its URL as file:///path/to/folder"


def open_store(
    location: str | os.PathLike[str],
    limits: Limits = DEFAULT_LIMITS,
    *,
    deadline: float = math.inf,
) -> Store:
    """The store at a place, which need not exist: it is made when it is first written to.

    Args:
        location: A folder, or its ``file://`` URL. ``~`` is the home directory.
        limits: What those who write to it may take.
        deadline: When to wait for a turn no longer, by ``time.monotonic``.

    Raises:
        SettingsError: The place cannot be understood, or is of a kind that is not supported.
    """
    return DirectoryStore(folder_of(location), limits, deadline=deadline)


def folder_of(location: str | os.PathLike[str]) -> Path:
    """The folder that a store's place names.

    Raises:
        SettingsError: The place cannot be understood, or is of a kind that is not supported.
    """
    text = os.fspath(location)
    if not text or "\0" in text:
        raise SettingsError(f"store {text!r}", "it is not the name of a place", _REMEDY)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _expanded(text)
    if scheme[1].lower() != "file":
        reason = f"the scheme {scheme[1]}:// is not supported; file:// is"
        raise SettingsError(f"store {text}", reason, _REMEDY)
    return _path_of(text)


def _expanded(text: str) -> Path:
    if not text.strip("/"):
        raise SettingsError(f"store {text}", _NO_FOLDER, _REMEDY)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise SettingsError(f"store {text}", f"{error}", "write the whole path") from None


def _path_of(url: str) -> Path:
    from urllib.parse import unquote_to_bytes, urlsplit  # noqa: PLC0415  (4 ms, and rarely needed)

    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        reason = f"it names the host {parts.netloc}, and only this machine's files can be reached"
        raise SettingsError(f"store {url}", reason, "mount the folder here, and name it as a path")
    if parts.query or parts.fragment:
        reason = "a ? or # begins a query or a fragment, which no folder has"
        raise SettingsError(f"store {url}", reason, "write %3F for ?, and %23 for #")
    path = os.fsdecode(unquote_to_bytes(parts.path))
    if "\0" in path or not path.strip("/"):
        raise SettingsError(f"store {url}", _NO_FOLDER, _REMEDY)
    return Path(path)
