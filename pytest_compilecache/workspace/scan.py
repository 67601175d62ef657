"""Which files of a workspace are artifacts. It opens none of them."""

from __future__ import annotations

import contextlib
import os
import stat
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from pytest_compilecache.workspace.place import STAMP, Workspace

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
_TEMPORARY = ".tmp"
_BY_NAME = attrgetter("name")
_SKIPPED_SUFFIXES = (".lock", ".tmp", ".o", ".pid")


class WorkspaceFile(NamedTuple):
    """One artifact as a stat call saw it; a frozen dataclass takes four times as long to make.

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


def scan(workspace: Workspace, temporary: list[str] | None = None) -> dict[str, WorkspaceFile]:
    """All artifacts of the workspace by their name in a pack.

    Args:
        workspace: The workspace.
        temporary: Gets the places of files that were to be renamed, left or in use.
    """
    found: dict[str, WorkspaceFile] = {}
    left: list[str] = [] if temporary is None else temporary
    for area, folder in workspace.areas():
        _walk(str(folder), area, found, left, top=True)
    with contextlib.suppress(FileNotFoundError), os.scandir(workspace.state) as entries:
        left.extend(entry.path for entry in entries if entry.name.endswith(_TEMPORARY))
    return found


def is_artifact(path: str) -> bool:
    """Whether a name in a pack is that of a file which a scan would find."""
    area, _, below = path.partition("/")
    first, *rest = below.split("/")
    if area not in {*_SKIPPED_FOLDERS, *_KEPT_FOLDERS} or below.endswith(_SKIPPED_SUFFIXES):
        return False
    return not (_is_skipped_folder if rest else _is_skipped_file)(area, first)


def _walk(
    folder: str,
    prefix: str,
    found: dict[str, WorkspaceFile],
    temporary: list[str],
    *,
    top: bool = False,
) -> None:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=_BY_NAME)
    except FileNotFoundError:
        return
    for entry in entries:
        name, path = entry.name, f"{prefix}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if not (top and _is_skipped_folder(prefix, name)):
                _walk(entry.path, path, found, temporary)
            continue
        if name.endswith(_TEMPORARY):
            temporary.append(entry.path)
        if name.endswith(_SKIPPED_SUFFIXES) or (top and _is_skipped_file(prefix, name)):
            continue
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # renamed by torch between the listing and now
        if stat.S_ISREG(status.st_mode):
            found[path] = WorkspaceFile(
                path, entry.path, status.st_size, status.st_mtime_ns, status.st_atime_ns
            )


def _is_skipped_folder(area: str, name: str) -> bool:
    if area in _KEPT_FOLDERS:
        return name not in _KEPT_FOLDERS[area]
    # A folder of another environment inside one that the user named is not ours.
    return name in _SKIPPED_FOLDERS[area] or name.startswith("compilecache-")


def _is_skipped_file(area: str, name: str) -> bool:
    return area in _KEPT_FOLDERS or name == STAMP
