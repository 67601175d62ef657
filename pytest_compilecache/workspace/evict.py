"""Brings a workspace down to its bytes, and removes those of environments no longer used.

It deletes nothing that a live session may use, nothing that we or torch's compilers did
not put there, and leaves no more than misses wherever this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_compilecache.errors import WorkspaceError
from pytest_compilecache.limits import DEFAULT_LIMITS, Limits
from pytest_compilecache.workspace.evictable import Unit, entries_of, survey
from pytest_compilecache.workspace.place import STAMP, Workspace
from pytest_compilecache.workspace.sharing import (
    SHARING_LOCK,
    SharedWorkspace,
    sole_use,
    why_unlockable,
)

_ASIDE = ".compilecache-evicted-"
_MAX_TROUBLES = 20


@dataclass(frozen=True, slots=True)
class Evicted:
    """What was evicted.

    Attributes:
        files: Files that were deleted from the workspace.
        bytes: Their bytes.
        kept: Bytes of what may be evicted and was not; None where they were not counted.
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
    workspace: Workspace, limits: Limits = DEFAULT_LIMITS, *, living: Living | None = None
) -> Evicted:
    """Delete what was least recently used, where nobody uses it at this moment.

    Never raises. This process must have released the workspace, or say how it lives on in it.

    Args:
        workspace: The workspace. Its root has the name of its environment, and those
            of other environments lie beside it.
        limits: ``workspace_bytes`` for this one, ``keep_seconds`` for the others.
        living: This process, where it goes on using the workspace.
    """
    reason = why_unlockable(workspace)
    if reason:
        return Evicted(reason=reason)
    troubles = Troubles([])
    done = Evicted()
    with troubles.noted(workspace.root.parent):
        done = replace(done, workspaces=tuple(_remove_unused(workspace, limits, troubles)))
    with troubles.noted(workspace.root):
        if limits.workspace_bytes is not None:
            trimmed = _trim_unused(workspace, limits.workspace_bytes, living, troubles)
            done = replace(trimmed, workspaces=done.workspaces)
    return replace(done, troubles=tuple(troubles.found[:_MAX_TROUBLES]))


def choose(units: Iterable[Unit], excess: int) -> Iterator[Unit]:
    """The units to evict, in this order, so that at least so many bytes come free."""
    for unit in sorted(units, key=lambda unit: (unit.rank, unit.used, unit.paths)):
        if excess <= 0:
            return
        if unit.bytes:
            excess -= unit.bytes
            yield unit


@dataclass(frozen=True, slots=True)
class Living:
    """A process that goes on in a workspace from which it evicts.

    Attributes:
        use: Its use of it.
        since: When that began, in nanoseconds; what was changed later is its own.
        used: The files that it used so far.
    """

    use: SharedWorkspace
    since: int
    used: Callable[[], AbstractSet[str]]


@dataclass(frozen=True, slots=True)
class Troubles:
    """What went wrong with one thing, and did not keep us from the next."""

    found: list[WorkspaceError]

    @contextlib.contextmanager
    def noted(self, subject: Path) -> Iterator[None]:
        """Note an error instead of raising it."""
        try:
            yield
        except WorkspaceError as error:
            self.found.append(error)
        except OSError as error:
            reason = f"it cannot be evicted: {error.strerror or error}"
            self.found.append(WorkspaceError(error.filename or subject, reason))


# --- one workspace down to its bytes ----------------------------------------


def _trim_unused(
    workspace: Workspace, allowed: int, living: Living | None, troubles: Troubles
) -> Evicted:
    if workspace.inductor.is_symlink():
        return Evicted(reason=f"{workspace.inductor}: it is a link")
    if not _is_stamped(workspace.inductor / STAMP, workspace.root.name):
        reason = f"it has no stamp of environment {workspace.root.name}"
        return Evicted(reason=f"{workspace.inductor}: {reason}")
    with sole_use(workspace, living.use if living else None) as reason:
        if reason:
            return Evicted(reason=reason)
        return _trim(workspace, allowed, living, troubles)


def _trim(workspace: Workspace, allowed: int, living: Living | None, troubles: Troubles) -> Evicted:
    units = survey(workspace)
    total = sum(unit.bytes for unit in units)
    used: AbstractSet[str] = living.used() if living else frozenset()
    since = living.since if living else None
    unused = [
        unit
        for unit in units
        if (since is None or unit.changed < since) and used.isdisjoint(unit.paths)
    ]
    sizes: list[int] = []
    for unit in choose(unused, total - allowed):
        with troubles.noted(workspace.root):
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


def _remove_unused(workspace: Workspace, limits: Limits, troubles: Troubles) -> Iterator[str]:
    for entry in entries_of(workspace.root.parent):
        folder = Path(entry.path)
        if entry.name == workspace.root.name or not entry.is_dir(follow_symlinks=False):
            continue
        with troubles.noted(folder):
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
        # Out of sight at once: whoever comes makes a new one and never sees a part
        # of this, and whoever waits for the lock finds that its file has gone.
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
