"""Decides what a save should write. It reads the store and writes nothing to it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import log
from types import MappingProxyType

from pytest_compilecache._filesystem import read_unnoticed
from pytest_compilecache.errors import StoreError
from pytest_compilecache.limits import Limits
from pytest_compilecache.pack import PackReader
from pytest_compilecache.results import TimeUpError, Trouble, trouble
from pytest_compilecache.store.catalog import Catalog, PackRef
from pytest_compilecache.workspace.duplicates import Entries
from pytest_compilecache.workspace.heal import Healed
from pytest_compilecache.workspace.scan import WorkspaceFile

_MAX_SUPERSEDES = 10_000
_SMALLEST = 64 * 1024
# A pack that is nearly as large as a pack may be gains nothing by being merged.
_MERGEABLE = 0.5


@dataclass(frozen=True, slots=True)
class LivePack:
    """A pack that no other one took over.

    Attributes:
        name: Its name.
        size: Its bytes.
        modified: When it was published, by the store's clock.
        paths: What it holds and can be read.
        supersedes: The packs that it took over.
    """

    name: str
    size: int
    modified: float
    paths: frozenset[str]
    supersedes: tuple[str, ...] = ()


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
        notes: The packs that a reader found damaged, each with the time of its note.
        troubles: What went wrong.
    """

    live: list[LivePack] = field(default_factory=list)
    listed: Mapping[str, float] = field(default_factory=dict)
    superseded: set[str] = field(default_factory=set)
    notes: Mapping[str, float] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)

    def left_over(self, before: float) -> int:
        """How many packs were taken over, of those published before a time."""
        return sum(self.listed.get(name, before) < before for name in self.superseded)

    def paths(self, since: float = 0.0) -> set[str]:
        """What the live packs hold that were published since then."""
        return set().union(*(pack.paths for pack in self.live if pack.modified >= since))

    def is_overdue(self, now: float, limits: Limits) -> bool:
        """Whether a pack is expired, or a note on one can be looked at."""
        expired = now - limits.keep_seconds
        ripe = now - limits.grace_seconds
        return any(published < expired for published in self.listed.values()) or any(
            noted < ripe for noted in self.notes.values()
        )


def read_contents(catalog: Catalog, deadline: float) -> Contents:
    """Read the indexes of the live packs, and all of those that a reader found damaged.

    Raises:
        TimeUpError: It took too long.
        StoreError: The store cannot be read.
    """
    refs = catalog.packs()
    found = Contents(listed={ref.name: ref.modified for ref in refs}, notes=catalog.suspects())
    with contextlib.closing(catalog.readable(refs, found.superseded)) as packs:
        for ref, reader in packs:
            if time.monotonic() >= deadline:
                raise TimeUpError(catalog.store.url, "reading what it holds took too long")
            if isinstance(reader, PackReader):
                damaged = _damaged(reader) if ref.name in found.notes else {}
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
    held = contents.paths()
    renewed_before = now - limits.keep_seconds / 2
    missing = whole.keys() - held - twins.keys()
    aging = (held - contents.paths(since=renewed_before)) & whole.keys() - twins.keys()
    # What no session used since it came out of a pack went, or goes, with good reason.
    used = {path for path in missing | aging if recency(whole[path]) > renewed_before * 1e9}
    for unneeded, entry in twins.items():  # that one is used means that the other one is
        if unneeded in whole and recency(whole[unneeded]) > renewed_before * 1e9:
            used.add(entry)
    new = tuple(whole[path] for path in sorted(missing & used))
    old = tuple(whole[path] for path in sorted(aging & used))
    if not (new or old):
        return Plan((), (), (), (), ())
    merged = packs_to_merge(
        contents.live, {*whole, *twins}, fan=limits.fan, limit=limits.pack_bytes
    )
    rest = set().union(*(pack.paths for pack in merged)) & whole.keys() - missing - (aging & used)
    gone = {name for pack in merged for name in (pack.name, *pack.supersedes)}
    return Plan(
        new=new,
        old=old,
        merged=merged,
        supersedes=tuple(sorted(gone.intersection(contents.listed)))[:_MAX_SUPERSEDES],
        files=(*new, *old, *(whole[path] for path in sorted(rest))),  # time may be short at the end
    )


def find_twins(healed: Healed, contents: Contents, deadline: float) -> Mapping[str, str]:
    """The entries that are not needed: those known before, and those among the new ones."""
    held = contents.paths()
    new = healed.whole.keys() - held - healed.twins.keys()
    if not new:
        return healed.twins
    entries = Entries({path: file for path, file in healed.whole.items() if path in held})
    found: dict[str, str] = {}
    for path in sorted(new):
        file = healed.whole[path]
        if entries.has_siblings(path) and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # gone since it was judged
                twin = entries.twin_of(path, read_unnoticed(file.location))
                if twin is not None:
                    found[path] = twin
                    continue
        entries.add(path, file.location)
    if found:
        for path, twin in found.items():
            healed.ledger.add_twin(path, twin)
        with contextlib.suppress(OSError):  # they are found again
            healed.ledger.save_restored()
    return {**healed.twins, **found}


def _live(ref: PackRef, reader: PackReader, damaged: dict[str, str]) -> LivePack:
    paths = frozenset(file.path for file in reader.index.files if file.path not in damaged)
    return LivePack(ref.name, ref.size, ref.modified, paths, reader.index.supersedes)


def recency(file: WorkspaceFile) -> int:
    """When a file was last used, in nanoseconds."""
    return max(file.accessed, file.modified)


def packs_to_merge(
    live: Iterable[LivePack], present: Collection[str], *, fan: int, limit: int
) -> tuple[LivePack, ...]:
    """The packs whose content the next one should hold as well; empty when there are too few.

    As in a log-structured merge tree with tiers (O'Neil et al. 1996; "size-tiered
    compaction"): ``fan`` packs of one tier, each at most ``fan`` times as large as
    another, become one of the next, so a file is written again a logarithmic
    number of times.

    Args:
        live: The packs that no other one took over.
        present: The files at hand. A pack that holds others cannot be taken over.
        fan: How many packs of a tier there may be.
        limit: Bytes that one pack may take.
    """
    able = [
        pack for pack in live if pack.size <= _MERGEABLE * limit and pack.paths.issubset(present)
    ]
    tiers = Counter(_tier(pack, fan) for pack in able)
    full = [tier for tier, count in tiers.items() if count >= fan]
    if not full:
        return ()
    chosen: list[LivePack] = []
    room = limit
    for pack in sorted(able, key=lambda each: (each.size, each.name)):
        if _tier(pack, fan) > min(full) or pack.size > room:
            break
        chosen.append(pack)
        room -= pack.size
    return tuple(chosen) if len(chosen) > 1 else ()


def _tier(pack: LivePack, fan: int) -> int:
    return int(log(max(pack.size, _SMALLEST) / _SMALLEST, fan) + 1e-9)
