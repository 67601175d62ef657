"""Which files of a workspace are artifacts. It opens none of them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pytest_compilecache.workspace.place import STAMP, USE_MARK, Workspace

# locks/ is about processes, not artifacts. dynamo/ is profile-guided state:
# carried to another session, it makes a warm run compile again.
_NO_ARTIFACTS = frozenset({"locks", "dynamo"})
# By area. fxgraph/ and aotautograd/ at the top of inductor/ are of processes without
# our key tag: code for other vector instructions may be among it. Ours lie in guarded/.
# In an area of such processes (see ``foreign``) they are what is wanted; there torch's
# default place has the headers inside, which are an area of their own.
_SKIPPED_FOLDERS = {
    "inductor": _NO_ARTIFACTS | {"fxgraph", "aotautograd"},
    "headers": _NO_ARTIFACTS,
    "unguarded": _NO_ARTIFACTS | {"guarded", "precompiled_headers"},
}
# vLLM's folder also holds what belongs to the machine, such as which GPUs are connected.
_KEPT_FOLDERS = {"vllm": frozenset({"torch_compile_cache", "modelinfos"})}
# Of these areas' skipped folders, eviction takes these.
_EVICTED_THOUGH_SKIPPED = frozenset({"dynamo", "fxgraph", "aotautograd", "guarded"})
_TEMPORARY, _OBJECT = ".tmp", ".o"
_UNFINISHED = (".lock", _TEMPORARY, ".pid")
_SKIPPED_SUFFIXES = (*_UNFINISHED, _OBJECT)


class WorkspaceFile(NamedTuple):
    """One artifact as a stat call saw it; a frozen dataclass takes four times as long to make.

    Times are in nanoseconds. ``path`` is its name in a pack: the area, then the path below it;
    ``where`` is its place on the disk.
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


@dataclass(slots=True)
class Found:
    """What one walk through a workspace found.

    Attributes:
        files: The artifacts by their name in a pack.
        temporary: Places of files that were to be renamed, left or in use.
        marks: Places of the marks of processes that use the workspace, or did (see `sharing`).
        other_bytes: Bytes of what is no artifact and may be evicted; at least all of them.
    """

    files: dict[str, WorkspaceFile] = field(default_factory=dict)
    temporary: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    other_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Bytes that the workspace holds at most, of what may be evicted."""
        return self.other_bytes + sum(file.size for file in self.files.values())


def scan(workspace: Workspace, temporary: list[str] | None = None) -> dict[str, WorkspaceFile]:
    """All artifacts of the workspace by their name in a pack.

    Args:
        workspace: The workspace.
        temporary: Gets the places of files that were to be renamed, left or in use.
    """
    found = walk(workspace)
    if temporary is not None:
        temporary += found.temporary
    return found.files


def walk(workspace: Workspace) -> Found:
    """Look once at everything in the workspace.

    Raises:
        OSError: A folder cannot be read.
    """
    found = Found(other_bytes=_bytes_below(str(workspace.quarantine)))
    for area, folder in workspace.areas():
        _walk(area, str(folder), found)
    with contextlib.suppress(FileNotFoundError), os.scandir(workspace.state) as entries:
        for entry in entries:
            if entry.name.endswith(_TEMPORARY):
                found.temporary.append(entry.path)
            elif entry.name.startswith(USE_MARK):
                found.marks.append(entry.path)
    return found


def is_artifact(path: str) -> bool:
    """Whether a name in a pack is that of a file which a scan would find."""
    area, _, below = path.partition("/")
    first, *rest = below.split("/")
    if area not in {*_SKIPPED_FOLDERS, *_KEPT_FOLDERS} or below.endswith(_SKIPPED_SUFFIXES):
        return False
    return not (_is_skipped_folder if rest else _is_skipped_file)(area, first)


def _walk(area: str, root: str, found: Found) -> None:
    # One loop with few calls: ten thousand files lie in five thousand folders.
    files, length = found.files, len(root)
    folders = [root]
    while folders:
        folder = folders.pop()
        top = folder is root
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not (top and _is_skipped_folder(area, entry.name)):
                        folders.append(entry.path)
                    elif entry.name in _EVICTED_THOUGH_SKIPPED:
                        found.other_bytes += _bytes_below(entry.path)
                elif (
                    entry.name.endswith(_SKIPPED_SUFFIXES)
                    or not entry.is_file(follow_symlinks=False)
                    or (top and _is_skipped_file(area, entry.name))
                ):
                    _note_other(entry, found)
                else:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # renamed by torch between the listing and now
                    where = entry.path
                    path = area + where[length:]
                    files[path] = WorkspaceFile(
                        path, where, status.st_size, status.st_mtime_ns, status.st_atime_ns
                    )


def _note_other(entry: os.DirEntry[str], found: Found) -> None:
    if entry.name.endswith(_TEMPORARY):
        found.temporary.append(entry.path)
    elif not entry.name.endswith(_UNFINISHED):
        with contextlib.suppress(FileNotFoundError):
            found.other_bytes += entry.stat(follow_symlinks=False).st_size


def _bytes_below(folder: str) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # gone since the listing
                if entry.is_dir(follow_symlinks=False):
                    total += _bytes_below(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _is_skipped_folder(area: str, name: str) -> bool:
    if area in _KEPT_FOLDERS:
        return name not in _KEPT_FOLDERS[area]
    # A folder of another environment inside one that the user named is not ours.
    return name in _SKIPPED_FOLDERS[area] or name.startswith("compilecache-")


def _is_skipped_file(area: str, name: str) -> bool:
    return area in _KEPT_FOLDERS or name == STAMP
