"""Reads everything in a store and says what is wrong with it. It changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pytest_compilecache.errors import PackError, StoreError
from pytest_compilecache.store.base import ObjectMissingError, Store, StoredObject
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.listing import list_readable, object_of, packs_in

_RESAVED = "prune deletes it; what it held is compiled again, and saved in another pack"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong in a store.

    Attributes:
        key: The object.
        reason: What is wrong with it.
        remedy: What a person can do.
    """

    key: str
    reason: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        packs: How many packs were read.
        bytes: Their bytes.
        findings: What is wrong.
    """

    packs: int = 0
    bytes: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def check(store: Store, progress: Callable[[int], None] = lambda _: None) -> CheckResult:
    """Read every pack to its last byte and look at everything else.

    Args:
        store: The store.
        progress: Called with the bytes of each pack that was read.

    Raises:
        StoreError: The store cannot be listed.
    """
    readable = list_readable(store)
    listing = readable.objects
    names = {found.pack for _, found in packs_in(listing)}
    packs = size = 0
    findings = [
        Finding(key, f"it was not checked: {error.reason}", error.remedy)
        for key, error in readable.unlisted.items()
    ]
    for each in listing:
        found = object_of(each.key)
        if found is None:
            remedy = "nothing here reads or deletes it; delete it if nobody else needs it"
            findings.append(Finding(each.key, "it is no object of this layout", remedy))
        elif found.pack:
            packs, size = packs + 1, size + each.size
            findings.extend(_pack_findings(Catalog(store, found.environment), each, found.pack))
            progress(each.size)
        elif found.suspect:
            reason = "somebody found this pack damaged"
            if found.suspect not in names:
                reason = "a note on a pack that is not there any more"
            findings.append(Finding(each.key, reason, "prune looks at it and deletes it"))
    return CheckResult(packs, size, tuple(findings))


def _pack_findings(catalog: Catalog, each: StoredObject, name: str) -> Iterator[Finding]:
    try:
        with catalog.open_pack(name) as reader:
            damaged = reader.damaged()
    except ObjectMissingError:
        return  # pruned since the listing
    except PackError as error:
        yield Finding(each.key, error.reason, _RESAVED)
        return
    except StoreError as error:
        yield Finding(each.key, error.reason, error.remedy)
        return
    for path, reason in damaged.items():
        yield Finding(each.key, f"{path}: {reason}", _RESAVED)
