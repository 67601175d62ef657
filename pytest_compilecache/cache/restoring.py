"""Brings what a workspace lacks out of a store. It replaces nothing and leaves no half file."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pytest_compilecache.environment import Environment, nearest
from pytest_compilecache.errors import CompileCacheError, PackError, StoreError, WorkspaceError
from pytest_compilecache.limits import Limits
from pytest_compilecache.pack import PackFile, PackReader
from pytest_compilecache.places import CHOOSE_ANOTHER_PLACE, make_private_folders
from pytest_compilecache.results import CacheResult, OperationStatus, Trouble, trouble
from pytest_compilecache.store.catalog import Catalog, PackRef
from pytest_compilecache.workspace.duplicates import MAX_COMPARED_BYTES, Entries
from pytest_compilecache.workspace.heal import Healed
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.scan import is_artifact

_MAX_TROUBLES = 20
_MAX_VALUE = 300
# A pack that was listed and is gone was pruned, and its content stands in one
# that was published before: a new listing shows it.
_LISTINGS = 4
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def restore_from(
    workspace: Workspace, catalog: Catalog, healed: Healed, limits: Limits
) -> CacheResult:
    """Write to the workspace what the store holds and it lacks, the newest first.

    Raises:
        CompileCacheError: The store cannot be read, or the workspace not be written.
        OSError: The same.
    """
    task = _Restoring(workspace, catalog, limits, healed)
    found = _restore_all(task)
    task.healed.ledger.save_restored()
    if not found:
        return CacheResult(OperationStatus.DOES_NOT_EXIST, troubles=tuple(task.troubles))
    status = OperationStatus.SUCCESS if task.files else OperationStatus.SKIPPED
    if task.troubles:
        status = OperationStatus.ERROR
    return CacheResult(
        status,
        task.files,
        task.bytes,
        task.packs,
        duplicates=task.duplicates,
        troubles=tuple(task.troubles),
    )


def explain(environment: Environment, catalog: Catalog) -> str:
    """How the nearest environment in the store differs from this one."""
    closest = nearest(environment, environments_in(catalog))
    differences = environment.differences(closest) if closest is not None else ()
    told = [_difference(each.field, each.here, each.there) for each in differences]
    more = [f"and {len(told) - _MAX_TROUBLES} more"] if len(told) > _MAX_TROUBLES else []
    return "; ".join(told[:_MAX_TROUBLES] + more)


def environments_in(catalog: Catalog) -> list[Environment]:
    """The environments that a store describes; a description that cannot be read is left out."""
    found = []
    with contextlib.suppress(StoreError):  # another user's, who gives no access
        for text in catalog.environments().values():
            with contextlib.suppress(CompileCacheError):
                found.append(Environment.from_json(text))
    return found


@dataclass(slots=True)
class _Restoring:
    """What is being restored, and what came of it so far."""

    workspace: Workspace
    catalog: Catalog
    limits: Limits
    healed: Healed
    duplicates: int = 0
    files: int = 0
    bytes: int = 0
    packs: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    noted: set[str] = field(default_factory=set)
    held: int = field(init=False)
    present: set[str] = field(init=False)
    areas: dict[str, str] = field(init=False)
    entries: Entries = field(init=False)
    writer: FileWriter = field(init=False)

    def __post_init__(self) -> None:
        healed = self.healed
        self.held = sum(file.size for file in healed.whole.values())
        self.present = {*healed.whole, *healed.busy, *healed.twins}
        self.areas = {name: str(folder) for name, folder in self.workspace.areas()}
        self.entries = Entries(healed.whole)
        self.writer = FileWriter(self.areas.values())

    def takes(self, path: str) -> bool:
        # A folder of a command that could not be used here is no area.
        return path.partition("/")[0] in self.areas and is_artifact(path)

    def note(self, subject: object, error: Exception) -> None:
        if len(self.troubles) < _MAX_TROUBLES:
            self.troubles.append(trouble(subject, error))


def _restore_all(task: _Restoring) -> bool:
    """Restore from every pack; whether there is any."""
    seen: set[str] = set()
    superseded: set[str] = set()
    for _ in range(_LISTINGS):
        refs = [ref for ref in task.catalog.packs() if ref.name not in seen]
        again = False
        with contextlib.closing(task.catalog.readable(refs, superseded)) as packs:
            for ref, reader in packs:
                seen.add(ref.name)
                if reader is None:
                    again = True
                elif not isinstance(reader, PackReader):
                    _report(task, ref, reader)
                elif not _restore_pack(task, ref, reader):
                    # What it should have taken over may still be there.
                    superseded.difference_update(reader.index.supersedes)
                    again = again or bool(reader.index.supersedes)
        if not again:
            break
    return bool(seen)


def _restore_pack(task: _Restoring, ref: PackRef, reader: PackReader) -> bool:
    """Restore what is wanted of a pack; False when some of it is damaged, or cannot be read."""
    lacking = [
        file
        for file in reader.index.files
        if file.path not in task.present and task.takes(file.path)
    ]
    wanted = list(_within_limit(task, lacking))
    if not wanted:
        return True
    needed = sum(file.size for file in wanted)
    room = shutil.disk_usage(task.workspace.root).free - task.limits.free_bytes
    if needed > room:
        reason = f"{needed:,} bytes are to be restored, and the disk has room for {max(room, 0):,}"
        remedy = f"free space there, or {CHOOSE_ANOTHER_PLACE}"
        task.note(task.workspace.root, WorkspaceError(task.workspace.root, reason, remedy))
        return True
    written, damage = _extract(task, ref, reader, {file.path for file in wanted})
    task.present.update(file.path for file in written)
    task.files += len(written)
    task.bytes += sum(file.size for file in written)
    task.packs += bool(written)
    if damage is not None:
        _report(task, ref, damage)
    return damage is None


def _within_limit(task: _Restoring, files: Iterable[PackFile]) -> Iterator[PackFile]:
    """The files that the workspace may hold as well: what is evicted must not come back at once."""
    limit = task.limits.workspace_bytes
    total = task.held + task.bytes
    for file in files:
        total += file.size
        if limit is not None and total > limit:
            return
        yield file


def _extract(
    task: _Restoring, ref: PackRef, reader: PackReader, wanted: Collection[str]
) -> tuple[list[PackFile], PackError | StoreError | None]:
    written: list[PackFile] = []
    damage: PackError | StoreError | None = None
    # As old as their pack: what torch does not use is not the most recently used.
    age = int(ref.modified * 1e9)
    for file, chunks in reader.extract(wanted):
        area, _, below = file.path.partition("/")
        target = f"{task.areas[area]}/{below}"
        try:
            content: Iterable[bytes] = chunks
            if file.size <= MAX_COMPARED_BYTES and task.entries.has_siblings(file.path):
                content = [b"".join(chunks)]
                if _is_duplicate(task, file.path, content[0]):
                    continue
            task.writer.write(target, file.mode, age, content)
        except PackError as error:
            damage = damage or error
            continue
        except StoreError as error:
            damage = error  # and not one more wait for a disk, or a mount, that gives up slowly
            break
        except (IsADirectoryError, NotADirectoryError, FileExistsError):
            reason = "something else is in the place of this file, or of its folder"
            task.note(target, WorkspaceError(target, reason, f"move {target} away"))
            continue
        task.entries.add(file.path, Path(target))
        task.healed.ledger.add_restored(file.path, file.size, age)
        written.append(file)
    return written, damage


def _is_duplicate(task: _Restoring, path: str, content: bytes) -> bool:
    twin = task.entries.twin_of(path, content)
    if twin is None:
        return False
    task.healed.ledger.add_twin(path, twin)
    task.present.add(path)
    task.duplicates += 1
    return True


def _report(task: _Restoring, ref: PackRef, error: PackError | StoreError) -> None:
    """A bad pack is a miss: what it held may stand in another one, or is made and saved again."""
    task.note(task.catalog.store.url, error)
    if isinstance(error, StoreError):  # which says nothing about what is in the pack
        return
    if len(task.noted) >= _MAX_TROUBLES:  # each costs a turn and a sync
        return
    with contextlib.suppress(StoreError):  # a reader may well have no right to write
        if not task.noted:
            task.noted |= {"", *task.catalog.suspects()}
        if ref.name not in task.noted:
            task.noted.add(ref.name)
            task.catalog.suspect(ref.name, error.reason)


def _difference(field_name: str, here: str, there: str) -> str:
    if field_name == "cpu_flags":  # a hundred words, of which few differ
        ours, theirs = set(here.split()), set(there.split())
        here, there = (" ".join(sorted(flags)) for flags in (ours - theirs, theirs - ours))
    here, there = (_shortened(value) or "without" for value in (here, there))
    return f"{field_name} is {here} here and {there} there"


def _shortened(value: str) -> str:
    return value if len(value) <= _MAX_VALUE else f"{value[:_MAX_VALUE]}…"


# --- files of the workspace ----------------------------------------------


def _new_prefix() -> str:
    # Containers that share a workspace have the same process ids; and what a fork that
    # was killed left must not be in its parent's way.
    return f".compilecache-{os.getpid()}-{os.urandom(6).hex()}"


@dataclass(slots=True)
class FileWriter:
    """Writes files, each whole or not at all, in private folders, and never through a link.

    Attributes:
        roots: The folders below which it writes. They may be links themselves.
    """

    roots: Collection[str]
    _made: set[str] = field(default_factory=set)
    _prefix: str = field(default_factory=_new_prefix)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def write(self, target: str, mode: int, age: int, chunks: Iterable[bytes]) -> None:
        """Write one file.

        Args:
            target: Its place.
            mode: Its mode.
            age: Its times, in nanoseconds.
            chunks: Its content. What iterating raises leaves nothing behind.

        Raises:
            OSError: It cannot be written; NotADirectoryError when a link is in the way.
        """
        # By bare calls of the system: ten thousand files take twice as long through file objects.
        folder = os.path.dirname(target)  # noqa: PTH120
        if folder not in self._made:
            self._refuse_links(folder)
            make_private_folders(Path(folder))
            self._made.add(folder)
        name = f"{folder}/{self._prefix}{next(self._count):x}.tmp"
        handle = os.open(name, _CREATE, mode)
        try:
            try:
                for chunk in chunks:
                    _write_all(handle, chunk)
                os.utime(handle, ns=(age, age))
            finally:
                os.close(handle)
            os.replace(name, target)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise

    def _refuse_links(self, folder: str) -> None:
        """Raise where a link below a root would lead out of it, to where a scan finds nothing."""
        for each in map(str, (folder, *Path(folder).parents)):
            if each in self.roots or each in self._made:
                return
            if os.path.islink(each):  # noqa: PTH114
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), each)


def _write_all(handle: int, chunk: bytes) -> None:
    written = os.write(handle, chunk)
    while written < len(chunk):
        written += os.write(handle, memoryview(chunk)[written:])
