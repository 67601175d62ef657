"""What is wrong with a store, found without the code that is under test where it can be."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from pytest_compilecache.environment import Environment
from pytest_compilecache.errors import CompileCacheError
from pytest_compilecache.pack import PackReader
from pytest_compilecache.pack.index import HEADER
from pytest_compilecache.store import DirectoryStore
from tests.crash.artifacts import content_of

_PACK = re.compile(r"v1/[^/]+/packs/([0-9a-f]{64})\.pack")
_NOTE = re.compile(r"v1/[^/]+/suspect/[0-9a-f]{64}")
_DESCRIPTION = re.compile(r"v1/([^/]+)/environment\.json")


def store_faults(root: Path) -> list[str]:
    """Every reason why something that is listed could mislead its reader."""
    store = DirectoryStore(root)
    faults = []
    for each in store.list("v1"):
        with store.open(each.key) as file:
            content = file.read()
        try:
            faults += [f"{each.key}: {fault}" for fault in _faults(each.key, content)]
        except CompileCacheError as error:
            faults.append(f"{each.key}: {error}")
    return faults


def stored_paths(root: Path) -> set[str]:
    """The artifacts in all packs of a store."""
    store = DirectoryStore(root)
    found: set[str] = set()
    for name, key in _packs(store):
        with store.open(key) as file:
            found.update(file.path for file in PackReader(file, name=name).index.files)
    return found


def pack_names(root: Path) -> set[str]:
    """The names of all packs of a store."""
    return {name for name, _ in _packs(DirectoryStore(root))}


def _packs(store: DirectoryStore) -> Iterator[tuple[str, str]]:
    for each in store.list("v1"):
        if found := _PACK.fullmatch(each.key):
            yield found[1], each.key


def _faults(key: str, content: bytes) -> Iterator[str]:
    if found := _PACK.fullmatch(key):
        yield from _pack_faults(found[1], content)
    elif found := _DESCRIPTION.fullmatch(key):
        if Environment.from_json(content.decode(errors="replace")).id != found[1]:
            yield "it describes another environment"
    elif not _NOTE.fullmatch(key):
        yield "nothing of this name belongs there"


def _pack_faults(name: str, content: bytes) -> Iterator[str]:
    reader = PackReader(io.BytesIO(content), name=name)
    frames = reader.index.frames
    starts = itertools.accumulate((frame.stored for frame in frames), initial=HEADER.size)
    for number, (start, frame) in enumerate(zip(starts, frames, strict=False)):
        stored = content[start : start + frame.stored]
        if hashlib.sha256(stored).hexdigest() != frame.digest:
            yield f"frame {number} has another digest"
    for file, pieces in reader.extract([file.path for file in reader.index.files]):
        if b"".join(pieces) != content_of(file.path):
            yield f"{file.path} has another content"
