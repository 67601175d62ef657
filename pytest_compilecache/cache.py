"""Restore, save and their results: the one place that fails open.

Whatever goes wrong in the store or the workspace ends here, as a status with
reason and remedy. Nothing of it reaches a test.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pytest_compilecache.environment import Environment, nearest
from pytest_compilecache.errors import CompileCacheError, PackError
from pytest_compilecache.pack import PackFile, PackReader, PackSource
from pytest_compilecache.store import open_store
from pytest_compilecache.store.base import ObjectMissingError
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.workspace.heal import Healed, TornFile, heal
from pytest_compilecache.workspace.place import Workspace


class OperationStatus(enum.Enum):
    """How a restore or a save ended."""

    SUCCESS = "success"
    SKIPPED = "skipped"
    ERROR = "error"
    DOES_NOT_EXIST = "does_not_exist"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong and cost only time.

    Attributes:
        subject: The thing: a path, a pack, a store.
        reason: What is wrong with it.
        remedy: What a person can do.
    """

    subject: str
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        sentence = f"{self.subject}: {self.reason}"
        return f"{sentence} ({self.remedy})" if self.remedy else sentence


@dataclass(frozen=True, slots=True)
class CacheResult:
    """What a restore or a save did.

    Attributes:
        status: How it ended.
        files: Files written to the workspace, or packed.
        bytes: Their bytes, uncompressed.
        packs: Packs that files were taken from, or the one that was made.
        seconds: How long it took.
        torn: Torn files that were moved to quarantine before.
        troubles: What went wrong.
        usable: Whether torch may be pointed at the workspace.
        explanation: Why a store that holds packs had none to restore, or empty.
    """

    status: OperationStatus
    files: int = 0
    bytes: int = 0
    packs: int = 0
    seconds: float = 0.0
    torn: tuple[TornFile, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    usable: bool = True
    explanation: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for another process."""
        return {**asdict(self), "status": self.status.value}

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> CacheResult:
        """The inverse of ``to_mapping``, also after a journey through JSON."""
        return cls(
            **{
                **values,
                "status": OperationStatus(values["status"]),
                "torn": tuple(TornFile(**item) for item in values["torn"]),
                "troubles": tuple(Trouble(**item) for item in values["troubles"]),
            }
        )


def restore(workspace: Workspace, environment: Environment, store: str | None) -> CacheResult:
    """Prepare and heal the workspace and bring what it lacks from the store.

    Never raises: trouble is in the result.
    """
    started = time.perf_counter()
    torn: tuple[TornFile, ...] = ()
    usable = False
    try:
        workspace.prepare(environment.id)
        usable = True
        healed = heal(workspace)
        torn = healed.torn
        if store is None:
            result = CacheResult(OperationStatus.DOES_NOT_EXIST)
        else:
            catalog = Catalog(open_store(store), environment.id)
            result = _restore(workspace, catalog, healed)
            if result.status is OperationStatus.DOES_NOT_EXIST:
                result = replace(result, explanation=_explain(environment, catalog))
    except Exception as error:  # noqa: BLE001  (fails open, by design)
        result = CacheResult(
            OperationStatus.ERROR, troubles=(trouble(store or workspace.root, error),)
        )
    seconds = time.perf_counter() - started
    return replace(result, torn=torn, seconds=seconds, usable=usable)


def save(workspace: Workspace, environment: Environment, store: str) -> CacheResult:
    """Add what is new in the workspace to the store, as one more pack.

    Never raises: trouble is in the result.
    """
    started = time.perf_counter()
    torn: tuple[TornFile, ...] = ()
    try:
        healed = heal(workspace)
        torn = healed.torn
        result = _save(environment, Catalog(open_store(store), environment.id), healed)
    except Exception as error:  # noqa: BLE001  (fails open, by design)
        result = CacheResult(OperationStatus.ERROR, troubles=(trouble(store, error),))
    return replace(result, torn=torn, seconds=time.perf_counter() - started)


def _restore(workspace: Workspace, catalog: Catalog, healed: Healed) -> CacheResult:
    refs = sorted(catalog.packs(), key=lambda ref: ref.modified, reverse=True)
    if not refs:
        return CacheResult(OperationStatus.DOES_NOT_EXIST)
    areas = dict(workspace.areas())
    present = set(healed.whole) | set(healed.busy)
    files = size = packs = 0
    troubles: list[Trouble] = []
    for ref in refs:
        try:
            with catalog.open_pack(ref) as reader:
                wanted = [file.path for file in reader.index.files if file.path not in present]
                written = list(_extract(reader, wanted, areas, troubles)) if wanted else []
        except ObjectMissingError:
            continue  # pruned since the listing
        except PackError as error:
            # A bad pack is a miss: what it held may stand in another one.
            troubles.append(trouble(catalog.store.url, error))
            continue
        present.update(file.path for file in written)
        files += len(written)
        size += sum(file.size for file in written)
        packs += bool(written)
    status = OperationStatus.SUCCESS if files else OperationStatus.SKIPPED
    if troubles:
        status = OperationStatus.ERROR
    return CacheResult(status, files, size, packs, troubles=tuple(troubles))


def _explain(environment: Environment, catalog: Catalog) -> str:
    """How the nearest environment in the store differs from this one."""
    others = []
    for text in catalog.environments().values():
        with contextlib.suppress(CompileCacheError):
            others.append(Environment.from_json(text))
    closest = nearest(environment, others)
    differences = environment.differences(closest) if closest is not None else ()
    return "; ".join(_difference(each.field, each.here, each.there) for each in differences)


def _difference(field: str, here: str, there: str) -> str:
    if field == "cpu_flags":  # a hundred words, of which few differ
        ours, theirs = set(here.split()), set(there.split())
        here, there = (" ".join(sorted(flags)) for flags in (ours - theirs, theirs - ours))
    return f"{field} is {here or 'without'} here and {there or 'without'} there"


def _extract(
    reader: PackReader, wanted: Iterable[str], areas: dict[str, Path], troubles: list[Trouble]
) -> Iterator[PackFile]:
    for file, chunks in reader.extract(set(wanted)):
        area, _, below = file.path.partition("/")
        if area not in areas:
            continue
        try:
            _write(areas[area] / below, file.mode, chunks)
        except PackError as error:
            if len(troubles) < _MAX_TROUBLES:
                troubles.append(trouble(file.path, error))
            continue
        yield file


_MAX_TROUBLES = 20


def _write(target: Path, mode: int, chunks: Iterable[bytes]) -> None:
    """Write one file so that it is there whole or not at all."""
    try:
        handle, name = tempfile.mkstemp(prefix=".compilecache-", suffix=".tmp", dir=target.parent)
    except FileNotFoundError:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".compilecache-", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            os.fchmod(file.fileno(), mode)
        os.replace(name, target)  # noqa: PTH105  (called for every file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _save(environment: Environment, catalog: Catalog, healed: Healed) -> CacheResult:
    stored: set[str] = set()
    troubles: list[Trouble] = []
    for ref in catalog.packs():
        try:
            with catalog.open_pack(ref) as reader:
                stored.update(file.path for file in reader.index.files)
        except ObjectMissingError:
            continue  # pruned since the listing
        except PackError as error:
            troubles.append(trouble(catalog.store.url, error))
    new = [file for path, file in healed.whole.items() if path not in stored]
    if not new:
        return CacheResult(OperationStatus.SKIPPED, troubles=tuple(troubles))
    catalog.describe(environment.to_json())
    sources = [PackSource(file.path, file.location) for file in new]
    written = catalog.publish(sources, created=time.time())
    if written is None:
        return CacheResult(OperationStatus.SKIPPED, troubles=tuple(troubles))
    size = sum(file.size for file in written.index.files)
    return CacheResult(
        OperationStatus.SUCCESS, len(written.index.files), size, 1, troubles=tuple(troubles)
    )


def trouble(subject: object, error: Exception) -> Trouble:
    """What a person is told about an error."""
    if isinstance(error, CompileCacheError):
        return Trouble(error.subject, error.reason, error.remedy)
    if isinstance(error, OSError):
        named = error.filename or subject
        return Trouble(
            str(named), error.strerror or str(error), _REMEDIES.get(error.errno or 0, "")
        )
    return Trouble(str(subject), f"{type(error).__name__}: {error}", "please report this")


_REMEDIES = {
    errno.ENOSPC: "free space there, or choose another place",
    errno.EDQUOT: "free space in your quota, or choose another place",
    errno.EACCES: "give this user access, or choose another place",
    errno.EPERM: "give this user access, or choose another place",
    errno.EROFS: "it is mounted read-only: choose another place, or do not save",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
