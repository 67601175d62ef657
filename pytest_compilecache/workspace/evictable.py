"""What may be evicted from a workspace, by what is of use only together. It deletes nothing."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_compilecache.workspace.place import Workspace

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


def survey(workspace: Workspace) -> list[Unit]:
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
    units = [unit for folder, rank in folders for unit in _units(folder, rank)]
    return [*units, *_whole_folders(workspace)]


def _artifact_folders(workspace: Workspace) -> Iterator[str]:
    for entry in entries_of(workspace.inductor):
        if entry.is_dir(follow_symlinks=False) and _EVICTED_FOLDERS.fullmatch(entry.name):
            yield entry.path


def _whole_folders(workspace: Workspace) -> Iterator[Unit]:
    for parent in workspace.of_whole_folders():
        for entry in entries_of(parent):
            if entry.is_dir(follow_symlinks=False):
                files = list(_files_below(entry.path))
                size = sum(state.st_size for state in files)
                used = max((_used(state) for state in files), default=0)
                yield Unit((entry.path,), size, used)


def _files_below(folder: str) -> Iterator[os.stat_result]:
    for entry in entries_of(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(entry.path)
        else:
            with contextlib.suppress(FileNotFoundError):  # gone since the listing
                yield entry.stat(follow_symlinks=False)


def _units(folder: Path | str, rank: int) -> Iterator[Unit]:
    files: list[os.DirEntry[str]] = []
    for entry in entries_of(folder):
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


def entries_of(folder: Path | str) -> list[os.DirEntry[str]]:
    """What lies in a folder; nothing where there is none, or a link in its place."""
    if os.path.islink(folder):  # noqa: PTH114  (called for every folder)
        return []  # it leads to what is not ours
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
