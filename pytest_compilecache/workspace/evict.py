"""Brings a workspace down to its bytes, and removes those of environments no longer used.

It deletes nothing that a live session may use, nothing that we or torch's compilers did
not put there, and leaves no more than misses wherever this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_compilecache.errors import WorkspaceError
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.workspace.place import STAMP, Workspace
from pytest_compilecache.workspace.sharing import (
    SHARING_LOCK,
    SharedWorkspace,
    sole_use,
    why_unlockable,
)

_ASIDE = ".compilecache-evicted-"
_MAX_TROUBLES = 20
_QUARANTINED, _ARTIFACT, _HEADER = range(3)

# What torch keeps in its folder and makes again when it is missing, even in part. A
# compiler that it installed there is not among it, nor is what a user left in a
# folder that he named.
_EVICTED_FOLDERS = re.compile(r"[a-z0-9]{2}|fxgraph|aotautograd|guarded|triton|dynamo")
# A process may be writing them, also one that has no lock of ours; healing knows when not.
_UNFINISHED = re.compile(r"(.*\.)?(tmp|lock|pid)|tmp\..*")
# Its being there says that its folder is complete: Triton 3.3 fails where the rest
# is missing, and so does Inductor's Halide backend.
_SEAL = re.compile(r"__grp__.*|done")
# Torch 2.15 notes beside a library that it once loaded.
_NOTE = ".load_ok"


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that are evicted together.

    Attributes:
        paths: The files, in the order in which they must go: what vouches for others first;
            or one folder, which goes as a whole.
        bytes: What they take.
        used: When one of them was last used, in nanoseconds.
        rank: Units of a lower rank go first.
        changed: When one of them was last changed, in nanoseconds.
    """

    paths: tuple[str, ...]
    bytes: int
    used: int
    rank: int = _ARTIFACT
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Evicted:
    """What was evicted.

    Attributes:
        files: Files that were deleted from the workspace.
        bytes: Their bytes.
        kept: Bytes of what may be evicted and was not, or more; None where they were not counted.
        workspaces: Environments whose whole workspace was removed.
        reason: Why nothing could be evicted from the workspace, or empty.
        troubles: What could not be deleted.
    """

    files: int = 0
    bytes: int = 0
    kept: int | None = None
    workspaces: tuple[str, ...] = ()
    reason: str = ""
    troubles: tuple[WorkspaceError, ...] = ()


def evict(
    workspace: Workspace,
    limits: Limits = DEFAULT_LIMITS,
    *,
    own: OwnUse | None = None,
    at_most: int | None = None,
    deadline: float | None = None,
) -> Evicted:
    """Delete what was least recently used, where no process uses it at this moment.

    Never raises. This process must have released the workspace, or say how it goes on in it.

    Args:
        workspace: The workspace. Its root has the name of its environment, and those
            of other environments lie beside it.
        limits: ``workspace_bytes`` for this one, ``keep_seconds`` for the others,
            ``save_seconds`` where no deadline is given.
        own: This process's use, where it goes on using the workspace.
        at_most: Bytes that the workspace holds at most, as a save has just found. Where these
            are within the limit, the workspace is not walked through once more.
        deadline: When to delete no more, by ``time.monotonic``.
    """
    reason = why_unlockable(workspace)
    if reason:
        return Evicted(reason=reason)
    started = time.monotonic()
    if deadline is None:
        deadline = started + limits.save_seconds
    job = _Job(own, deadline, deadline - started)
    done = Evicted()
    with job.noted(workspace.root.parent):
        done = replace(done, workspaces=tuple(_remove_unused(workspace, limits, job)))
    with job.noted(workspace.root):
        allowed = limits.workspace_bytes
        if allowed is not None and at_most is not None and at_most <= allowed:
            done = replace(done, kept=at_most)
        elif allowed is not None:
            trimmed = _trim_unused(workspace, allowed, job)
            done = replace(trimmed, workspaces=done.workspaces)
    return replace(done, troubles=tuple(job.troubles[:_MAX_TROUBLES]))


def choose(units: Iterable[Unit], excess: int) -> Iterator[Unit]:
    """The units to evict, in this order, so that at least so many bytes come free."""
    for unit in sorted(units, key=lambda unit: (unit.rank, unit.used, unit.paths)):
        if excess <= 0:
            return
        if unit.bytes:
            excess -= unit.bytes
            yield unit


@dataclass(frozen=True, slots=True)
class OwnUse:
    """A process's use of a workspace from which it evicts and in which it goes on.

    Attributes:
        use: Its use of it.
        since: When that began, in nanoseconds; what was changed later is its own.
        used: The files that it used so far.
    """

    use: SharedWorkspace
    since: int
    used: Callable[[], AbstractSet[str]]


class _TimeUpError(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Job:
    own: OwnUse | None
    deadline: float
    seconds: float
    troubles: list[WorkspaceError] = field(default_factory=list)

    @contextlib.contextmanager
    def noted(self, subject: Path) -> Iterator[None]:
        """Note an error instead of raising it: it does not keep us from what comes next."""
        try:
            yield
        except WorkspaceError as error:
            self.troubles.append(error)
        except OSError as error:
            reason = f"it cannot be evicted: {error.strerror or error}"
            self.troubles.append(WorkspaceError(error.filename or subject, reason))
        except _TimeUpError:
            reason = f"eviction was not finished within {self.seconds:.0f} s, its time limit"
            remedy = "the next session goes on; give it more time where this disk is slow"
            self.troubles.append(WorkspaceError(subject, reason, remedy))

    def check_time(self) -> None:
        if time.monotonic() >= self.deadline:
            raise _TimeUpError


# --- one workspace down to its bytes ----------------------------------------


def _trim_unused(workspace: Workspace, allowed: int, job: _Job) -> Evicted:
    if workspace.inductor.is_symlink():
        return Evicted(reason=f"{workspace.inductor}: it is a link")
    if not _is_stamped(workspace.inductor / STAMP, workspace.root.name):
        reason = f"it has no stamp of environment {workspace.root.name}"
        return Evicted(reason=f"{workspace.inductor}: {reason}")
    with sole_use(workspace, job.own.use if job.own else None) as reason:
        if reason:
            return Evicted(reason=reason)
        return _trim(workspace, allowed, job)


def _trim(workspace: Workspace, allowed: int, job: _Job) -> Evicted:
    units = _survey(workspace, job)
    total = sum(unit.bytes for unit in units)
    used: AbstractSet[str] = job.own.used() if job.own else frozenset()
    since = job.own.since if job.own else None
    unused = [
        unit
        for unit in units
        if (since is None or unit.changed < since) and used.isdisjoint(unit.paths)
    ]
    sizes: list[int] = []
    with job.noted(workspace.root):  # what was deleted until the time was up is still told
        for unit in choose(unused, total - allowed):
            job.check_time()
            with job.noted(workspace.root):
                sizes.extend(_delete(unit, workspace))
                _remove_empty({Path(path).parent for path in unit.paths}, workspace)
    return Evicted(len(sizes), sum(sizes), total - sum(sizes))


def _delete(unit: Unit, workspace: Workspace) -> Iterator[int]:
    for path in unit.paths:
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                yield _delete_folder(Path(path), unit.bytes, workspace)
            else:
                os.unlink(path)  # noqa: PTH108  (called for every file)
                yield status.st_size


def _delete_folder(folder: Path, size: int, workspace: Workspace) -> int:
    # At once: whoever finds a part of it takes it for the whole.
    workspace.quarantine.mkdir(mode=0o700, exist_ok=True)
    _remove(folder.rename(workspace.quarantine / f"{_ASIDE}{folder.name}-{time.time_ns()}"))
    return size


def _remove_empty(folders: Iterable[Path], workspace: Workspace) -> None:
    areas = {workspace.quarantine, workspace.inductor, workspace.headers}
    for folder in folders:
        with contextlib.suppress(OSError):  # it is not empty
            for each in (folder, *folder.parents):
                if each in areas:
                    break
                each.rmdir()


# --- workspaces of environments no longer used -------------------------------


def _remove_unused(workspace: Workspace, limits: Limits, job: _Job) -> Iterator[str]:
    for entry in _entries_of(workspace.root.parent):
        folder = Path(entry.path)
        if entry.name == workspace.root.name or not entry.is_dir(follow_symlinks=False):
            continue
        job.check_time()
        with job.noted(folder):
            if entry.name.startswith(_ASIDE):
                _remove(folder)  # its evictor was killed
            elif (aside := _set_aside(folder, time.time() - limits.keep_seconds)) is not None:
                yield entry.name
                _remove(aside)


def _set_aside(folder: Path, since: float) -> Path | None:
    """Rename a workspace that was not used since then; None when it stays."""
    other = Workspace(folder, folder / "inductor", folder / "headers")
    if not _is_ours(other) or _was_used(other, since):
        return None
    with sole_use(other) as reason:
        if reason or _was_used(other, since):  # or it was, before we had the lock
            return None
        # Out of sight at once: the next process makes a new one and never sees a part
        # of this, and one that waits for the lock finds that its file has gone.
        return folder.rename(folder.with_name(f"{_ASIDE}{folder.name}-{time.time_ns()}"))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # it follows no links
    if folder.exists():
        raise WorkspaceError(folder, "it could not be removed as a whole", f"rm -r {folder}")


def _is_ours(workspace: Workspace) -> bool:
    """Whether a folder is a workspace that we made; one behind a link is not."""
    folders = [workspace.root, workspace.state]
    stamp = workspace.state / STAMP
    if os.path.lexists(workspace.inductor):  # it lies elsewhere where the user named a folder
        folders.append(workspace.inductor)
        stamp = workspace.inductor / STAMP
    real = all(folder.is_dir() and not folder.is_symlink() for folder in folders)
    return real and _is_stamped(stamp, workspace.root.name)


def _is_stamped(stamp: Path, environment_id: str) -> bool:
    try:
        return stamp.read_text(encoding="utf-8") == environment_id
    except (OSError, UnicodeDecodeError):
        return False


def _was_used(workspace: Workspace, since: float) -> bool:
    try:
        return (workspace.state / SHARING_LOCK).stat().st_mtime > since
    except FileNotFoundError:
        return False  # taking the lock makes it, and its age begins


# --- what may be evicted -------------------------------------------------


def _survey(workspace: Workspace, job: _Job) -> list[Unit]:
    """Everything that may be evicted from a workspace.

    Raises:
        OSError: A folder cannot be read.
    """
    folders: list[tuple[Path | str, int]] = [
        (workspace.quarantine, _QUARANTINED),
        *((folder, _ARTIFACT) for folder in _artifact_folders(workspace)),
    ]
    if workspace.headers.is_relative_to(workspace.root):  # others are used by who has no lock
        folders.append((workspace.headers, _HEADER))
    units: list[Unit] = []
    for folder, rank in folders:
        job.check_time()
        units += _units(folder, rank)
    return [*units, *_whole_folders(workspace)]


def _artifact_folders(workspace: Workspace) -> Iterator[str]:
    for entry in _entries_of(workspace.inductor):
        if entry.is_dir(follow_symlinks=False) and _EVICTED_FOLDERS.fullmatch(entry.name):
            yield entry.path


def _whole_folders(workspace: Workspace) -> Iterator[Unit]:
    for parent in workspace.of_whole_folders():
        for entry in _entries_of(parent):
            if entry.is_dir(follow_symlinks=False):
                files = list(_files_below(entry.path))
                size = sum(state.st_size for state in files)
                used = max((_used(state) for state in files), default=0)
                yield Unit((entry.path,), size, used)


def _files_below(folder: str) -> Iterator[os.stat_result]:
    for entry in _entries_of(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(entry.path)
        else:
            with contextlib.suppress(FileNotFoundError):  # gone since the listing
                yield entry.stat(follow_symlinks=False)


def _units(folder: Path | str, rank: int) -> Iterator[Unit]:
    files: list[os.DirEntry[str]] = []
    for entry in _entries_of(folder):
        if rank != _QUARANTINED and (_UNFINISHED.fullmatch(entry.name) or entry.name == "locks"):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _units(entry.path, rank)
        else:
            files.append(entry)
    for group in _groups(files):
        with contextlib.suppress(FileNotFoundError):  # gone since the listing
            yield _unit(group, rank)


def _groups(files: list[os.DirEntry[str]]) -> Iterable[list[os.DirEntry[str]]]:
    """The files of one folder by what is of use only together."""
    if any(_SEAL.fullmatch(entry.name) for entry in files):
        return [sorted(files, key=lambda entry: _SEAL.fullmatch(entry.name) is None)]
    groups: dict[str, list[os.DirEntry[str]]] = {}
    for entry in sorted(files, key=lambda entry: not entry.name.endswith(_NOTE)):
        groups.setdefault(entry.name.removesuffix(_NOTE), []).append(entry)
    return groups.values()


def _unit(files: list[os.DirEntry[str]], rank: int) -> Unit:
    states = [entry.stat(follow_symlinks=False) for entry in files]
    return Unit(
        tuple(entry.path for entry in files),
        sum(state.st_size for state in states),
        max(_used(state) for state in states),
        rank,
        max(state.st_mtime_ns for state in states),
    )


def _used(state: os.stat_result) -> int:
    return max(state.st_atime_ns, state.st_mtime_ns)


def _entries_of(folder: Path | str) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing where there is none, or a link in its place."""
    if os.path.islink(folder):  # noqa: PTH114  (called for every folder)
        return []  # it leads to what is not ours
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
