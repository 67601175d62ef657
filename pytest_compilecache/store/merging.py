"""Which packs a save takes over, so that the number of packs grows with the logarithm of saves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import log

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
