"""Decides what a save should write. It reads the store and writes nothing to it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pytest_compilecache._filesystem import read_unnoticed
from pytest_compilecache.errors import StoreError
from pytest_compilecache.limits import Limits
from pytest_compilecache.pack import PackReader
from pytest_compilecache.results import Trouble, trouble
from pytest_compilecache.store.catalog import Catalog, PackRef
from pytest_compilecache.store.merging import LivePack, packs_to_merge
from pytest_compilecache.workspace.duplicates import Entries
from pytest_compilecache.workspace.heal import Healed
from pytest_compilecache.workspace.ledger import Ledger
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.scan import WorkspaceFile

_MAX_SUPERSEDES = 10_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What a save should write.

    Attributes:
        new: Files that no pack holds.
        old: Files that were used, and whose packs are about to expire.
        merged: Packs whose files are written again, together.
        supersedes: The names of these packs and of those that they superseded.
        files: All files to be written, each once.
    """

    new: tuple[WorkspaceFile, ...]
    old: tuple[WorkspaceFile, ...]
    merged: tuple[LivePack, ...]
    supersedes: tuple[str, ...]
    files: tuple[WorkspaceFile, ...]


@dataclass(slots=True)
class Contents:
    """What a store holds of one environment.

    Attributes:
        live: The packs that no other one took over, the newest first.
        listed: When each pack was published, by its name.
        superseded: The names of those that were taken over.
        noted: Whether somebody found one of them damaged.
        troubles: What went wrong.
    """

    live: list[LivePack] = field(default_factory=list)
    listed: Mapping[str, float] = field(default_factory=dict)
    superseded: set[str] = field(default_factory=set)
    noted: bool = False
    troubles: list[Trouble] = field(default_factory=list)

    def left_over(self, before: float) -> int:
        """How many packs were taken over, of those published before a time."""
        return sum(self.listed.get(name, before) < before for name in self.superseded)

    def holders(self) -> dict[str, float]:
        """When the newest pack that holds each path was published."""
        found: dict[str, float] = {}
        for pack in self.live:
            for path in pack.paths:
                found[path] = max(found.get(path, 0.0), pack.modified)
        return found


def read_contents(catalog: Catalog) -> Contents:
    """Read the indexes of the live packs, and all of those that somebody found damaged.

    Raises:
        StoreError: The store cannot be read.
    """
    refs = catalog.packs()
    suspects = catalog.suspects()
    found = Contents(listed={ref.name: ref.modified for ref in refs}, noted=bool(suspects))
    with contextlib.closing(catalog.readable(refs, found.superseded)) as packs:
        for ref, reader in packs:
            if isinstance(reader, PackReader):
                damaged = _damaged(reader) if ref.name in suspects else {}
                if damaged:
                    # What it took over may be whole, and be needed.
                    found.superseded.difference_update(reader.index.supersedes)
                found.live.append(_live(ref, reader, damaged))
            elif reader is not None:
                found.troubles.append(trouble(catalog.store.url, reader))
    return found


def _damaged(reader: PackReader) -> dict[str, str]:
    try:
        return reader.damaged()
    except StoreError as error:  # nobody can read it, so it holds nothing
        return {file.path: error.reason for file in reader.index.files}


def make_plan(
    contents: Contents,
    whole: Mapping[str, WorkspaceFile],
    now: float,
    limits: Limits,
    twins: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Decide what to write.

    Args:
        contents: What the store holds.
        whole: The files of the workspace by their path.
        now: The time, in seconds since 1970.
        limits: What may be taken.
        twins: Entries that are not needed, each with the one that says the same.
    """
    holders = contents.holders()
    renewed_before = now - limits.keep_seconds / 2
    # What nobody used since it came out of a pack went, or goes, with good reason.
    in_use = {path for path, file in whole.items() if recency(file) > renewed_before * 1e9}
    in_use |= {twin for path, twin in twins.items() if path in in_use}
    new = tuple(
        file
        for path, file in whole.items()
        if path not in holders and path not in twins and path in in_use
    )
    old = tuple(
        file
        for path, file in whole.items()
        if path in in_use and holders.get(path, now) < renewed_before and path not in twins
    )
    if not (new or old):
        return Plan((), (), (), (), ())
    merged = packs_to_merge(
        contents.live, {*whole, *twins}, fan=limits.fan, limit=limits.pack_bytes
    )
    wanted = {file.path for file in (*new, *old)}.union(*(pack.paths for pack in merged))
    gone = {name for pack in merged for name in (pack.name, *pack.supersedes)}
    return Plan(
        new=new,
        old=old,
        merged=merged,
        supersedes=tuple(sorted(gone.intersection(contents.listed)))[:_MAX_SUPERSEDES],
        files=tuple(file for path, file in whole.items() if path in wanted),
    )


def find_twins(workspace: Workspace, healed: Healed, contents: Contents) -> Mapping[str, str]:
    """The entries that are not needed: those known before, and those among the new ones."""
    holders = contents.holders()
    new = [path for path in healed.whole if path not in holders and path not in healed.twins]
    entries = Entries({path: file for path, file in healed.whole.items() if path in holders})
    found: dict[str, str] = {}
    for path in new:
        file = healed.whole[path]
        if entries.has_siblings(path):
            with contextlib.suppress(OSError):  # gone since it was judged
                twin = entries.twin_of(path, read_unnoticed(file.location))
                if twin is not None:
                    found[path] = twin
                    continue
        entries.add(path, file.location)
    if found:
        ledger = Ledger.load(workspace)
        for path, twin in found.items():
            ledger.add_twin(path, twin)
        with contextlib.suppress(OSError):  # they are found again
            ledger.save_restored()
    return {**healed.twins, **found}


def _live(ref: PackRef, reader: PackReader, damaged: dict[str, str]) -> LivePack:
    paths = frozenset(file.path for file in reader.index.files if file.path not in damaged)
    return LivePack(ref.name, ref.size, ref.modified, paths, reader.index.supersedes)


def recency(file: WorkspaceFile) -> int:
    """When a file was last used, in nanoseconds."""
    return max(file.accessed, file.modified)
