"""Moves torn files out of torch's way. It touches nothing that a live compiler still writes."""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_compilecache.workspace.ledger import Ledger
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.scan import WorkspaceFile, walk
from pytest_compilecache.workspace.sharing import forget_killed
from pytest_compilecache.workspace.whole import is_probe, why_torn

_QUARANTINE_DAYS = 7
# Its owner may live in another container that shares this folder, where the
# process number says nothing; an hour is longer than any write takes.
_TEMPORARY_SECONDS = 3600
_TEMPORARY = re.compile(r"\.(\d+)\.\d+\.tmp$|^\.compilecache-(\d+)-[0-9a-f]+\.tmp$")


@dataclass(frozen=True, slots=True)
class TornFile:
    """A file that was moved to quarantine.

    Attributes:
        path: Its name in a pack.
        reason: Why it cannot be whole.
        probe: Whether it is a library by which torch probes vector instructions;
            while one is torn, torch silently picks lower ones.
    """

    path: str
    reason: str
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Healed:
    """What healing found.

    Attributes:
        whole: The artifacts that may be used and saved, by their name in a pack.
        ledger: What is known of them.
        torn: What was moved to quarantine.
        busy: Torn-looking files that a live process is writing.
        unjudged: Files that there was no time to look at.
        twins: Entries that are not needed, each with the one that says the same.
        killed: Whether a process that used the workspace is known to have been killed since
            the last look. Only then may it be said that a killed process left a torn file:
            a first session has none, nor has one where no kernel locks can be had.
        bytes: What the workspace holds at most, of what may be evicted.
    """

    whole: dict[str, WorkspaceFile]
    ledger: Ledger
    torn: tuple[TornFile, ...] = ()
    busy: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    twins: Mapping[str, str] = field(default_factory=dict)
    killed: bool = False
    bytes: int = 0


def heal(workspace: Workspace, deadline: float = math.inf) -> Healed:
    """Judge what is new in the workspace and move torn files to quarantine.

    Args:
        workspace: The workspace.
        deadline: When to look at no more files, by ``time.monotonic``.

    Raises:
        OSError: A folder of the workspace cannot be read or written.
    """
    ledger = Ledger.load(workspace)
    found = walk(workspace)
    whole = dict(found.files)
    torn: list[TornFile] = []
    busy: list[str] = []
    unjudged: list[str] = []
    for path, file in found.files.items():
        if ledger.knows(file):
            continue
        if time.monotonic() >= deadline:
            unjudged.append(path)
            del whole[path]
            continue
        try:
            reason = why_torn(file.location)
        except FileNotFoundError:
            del whole[path]  # gone since the scan
            continue
        if reason is None:
            ledger.add(file)
            continue
        del whole[path]
        if _set_aside(workspace, file):
            torn.append(TornFile(path, reason, is_probe(file.location)))
        else:
            busy.append(path)
    _set_aside_temporary_files(workspace, found.temporary)
    _empty_old_quarantine(workspace)
    ledger.save(whole)
    twins = {path: twin for path, twin in ledger.twins.items() if twin in whole}
    killed = forget_killed(found.marks)
    return Healed(
        whole, ledger, tuple(torn), tuple(busy), tuple(unjudged), twins, killed, found.bytes
    )


def _set_aside(workspace: Workspace, file: WorkspaceFile) -> bool:
    """Move a torn file away unless its writer lives; False when it does."""
    with _torch_lock(workspace, file) as ours:
        if not ours:
            return False
        # Whoever held the lock a moment ago may have finished the file.
        try:
            if why_torn(file.location) is None:
                return False
        except FileNotFoundError:
            return False
        _move(workspace, file.location)
        # Torch 2.15 notes beside a library that it once loaded; what takes the
        # torn one's place must be tried anew.
        file.location.with_name(f"{file.location.name}.load_ok").unlink(missing_ok=True)
        return True


def set_aside_unloadable(workspace: Workspace, library: Path) -> bool:
    """Move a library to quarantine that a process could not load; False when it is gone.

    It may look whole: linked against what this machine lacks.
    """
    there = library.is_file()
    _move(workspace, library)
    library.with_name(f"{library.name}.load_ok").unlink(missing_ok=True)
    return there


@contextlib.contextmanager
def _torch_lock(workspace: Workspace, file: WorkspaceFile) -> Iterator[bool]:
    """Hold the lock under which torch builds this file; yields False when it is taken."""
    from filelock import FileLock, Timeout  # noqa: PLC0415  (only sessions with torn files pay)

    locks = _locks_for(dict(workspace.areas())[file.path.split("/", 1)[0]], file.location)
    locks.mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(locks / (file.location.name.split(".", 1)[0] + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _locks_for(area: Path, location: Path) -> Path:
    """The folder of torch's locks: vLLM gives Inductor a folder for each model, deep inside."""
    for folder in location.parents:
        if folder == area:
            break
        if (folder / "locks").is_dir():
            return folder / "locks"
    return area / "locks"


def _move(workspace: Workspace, location: Path) -> None:
    workspace.quarantine.mkdir(mode=0o700, exist_ok=True)
    target = workspace.quarantine / f"{time.time_ns()}-{location.name}"
    try:
        location.rename(target)
    except FileNotFoundError:
        return
    except OSError:
        # The quarantine lies on another filesystem than a folder that the user
        # named; a torn file left in place would fail every later run.
        location.unlink(missing_ok=True)


def _set_aside_temporary_files(workspace: Workspace, places: Iterable[str]) -> None:
    for location in map(Path, places):
        match = _TEMPORARY.search(location.name)
        try:
            old = time.time() - location.stat().st_mtime > _TEMPORARY_SECONDS
        except FileNotFoundError:
            continue
        if old and not (match and _alive(int(match[1] or match[2]))):
            _move(workspace, location)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _empty_old_quarantine(workspace: Workspace) -> None:
    limit = time.time() - _QUARANTINE_DAYS * 86_400
    with contextlib.suppress(FileNotFoundError):
        for entry in list(os.scandir(workspace.quarantine)):
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_ctime < limit:
                    Path(entry.path).unlink()
