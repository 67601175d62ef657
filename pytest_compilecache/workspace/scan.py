"""Which files of a workspace are artifacts. It opens none of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_compilecache.workspace.place import STAMP, Workspace

# locks/ is about processes, not artifacts. dynamo/ is profile-guided state:
# carried to another session, it makes a warm run compile again.
# fxgraph/ and aotautograd/ at the top are of processes without our key tag: code
# for other vector instructions may be among it. Ours lie in guarded/.
_SKIPPED_FOLDERS = frozenset({"locks", "dynamo", "fxgraph", "aotautograd"})
_SKIPPED_SUFFIXES = (".lock", ".tmp", ".o", ".pid")


@dataclass(frozen=True, slots=True)
class WorkspaceFile:
    """One artifact as a stat call saw it.

    Attributes:
        path: Its name in a pack: the area, then the path below it.
        where: Where it lies.
        size: In bytes.
        modified: In nanoseconds.
        accessed: In nanoseconds.
    """

    path: str
    where: str
    size: int
    modified: int
    accessed: int = 0

    @property
    def location(self) -> Path:
        """Where it lies; made when it is asked for, since ten thousand take a tenth of a second."""
        return Path(self.where)

    @property
    def used(self) -> bool:
        """Whether it was read since it was written or restored."""
        return self.accessed > self.modified


def scan(workspace: Workspace) -> dict[str, WorkspaceFile]:
    """All artifacts of the workspace by their name in a pack."""
    found: dict[str, WorkspaceFile] = {}
    for area, folder in workspace.areas():
        for file in _walk(folder, area, top=True):
            found[file.path] = file
    return found


def temporary_files(workspace: Workspace) -> Iterator[Path]:
    """Files that torch writes to before it renames them, left or in use."""
    for folder in (*(folder for _, folder in workspace.areas()), workspace.state):
        for parent, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name != "locks"]
            yield from (Path(parent, name) for name in names if name.endswith(".tmp"))


def _walk(folder: str | Path, prefix: str, *, top: bool = False) -> Iterator[WorkspaceFile]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        path = f"{prefix}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if not (top and _is_skipped_folder(entry.name)):
                yield from _walk(entry.path, path)
            continue
        if entry.name.endswith(_SKIPPED_SUFFIXES) or (top and entry.name == STAMP):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # renamed by torch between the listing and now
        if stat.S_ISREG(status.st_mode):
            yield WorkspaceFile(
                path, entry.path, status.st_size, status.st_mtime_ns, status.st_atime_ns
            )


def _is_skipped_folder(name: str) -> bool:
    # A folder of another environment inside one that the user named is not ours.
    return name in _SKIPPED_FOLDERS or name.startswith("compilecache-")
