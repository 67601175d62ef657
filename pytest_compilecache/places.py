"""Which folders the cache may work in: every check of who else could put code there.

A process that can write to a folder that torch loads code from can run code in the server.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from pytest_compilecache.errors import SettingsError, WorkspaceError

CHOOSE_ANOTHER_PLACE = (
    "choose another place with --compilecache-dir or COMPILECACHE_DIR; "
    "in a server, with LOCAL_WORK_DIR"
)
_PRIVATE = 0o700
_OTHERS_MAY_WRITE = 0o022


def check_place(variable: str, place: Path, documented: Iterable[Path]) -> None:
    """Accept a folder that a variable names, or refuse it.

    Below a documented place everything is accepted: the workspace looks at its
    own folders again. Elsewhere, the folder must be this user's and writable
    by nobody else; where there is none yet, the nearest one above it, which
    may be root's, and writable by all where it is sticky.

    Args:
        variable: Who names it.
        place: The folder.
        documented: The places below which no more is asked.

    Raises:
        SettingsError: The folder is refused.
    """
    prefixes = tuple(documented)
    real = Path(os.path.realpath(place))  # or a link would lead out of a documented place
    if any(real.is_relative_to(os.path.realpath(prefix)) for prefix in prefixes):
        return
    nearest = real
    while not os.path.exists(nearest):  # noqa: PTH110  (Path.exists raises where access is refused)
        nearest = nearest.parent
    reason = _why_refused(nearest, above=nearest != real)
    if reason:
        raise SettingsError(
            variable,
            f"{place} is not used: {nearest} {reason}",
            f"name a folder of this user's own, made by mkdir -m 700, or one below "
            f"{', '.join(map(str, prefixes))}",
        )


def user_cache_folder() -> Path:
    """Our folder in the user's cache folder.

    Raises:
        SettingsError: The user has no home directory, as in containers that run under any number.
    """
    from platformdirs import user_cache_path  # noqa: PLC0415  (3 ms, and rarely needed)

    try:
        return user_cache_path("compilecache", appauthor=False)
    except RuntimeError as error:
        reason = f"user {os.getuid()} has no home directory, and so no cache folder"
        raise SettingsError("HOME", reason, "set it, or XDG_CACHE_HOME") from error


def make_private_folders(folder: Path) -> None:
    """Make a folder and its parents; mkdir(parents=True) gives the parents the umask's mode."""
    if not folder.is_dir():
        make_private_folders(folder.parent)
        folder.mkdir(mode=_PRIVATE, exist_ok=True)


def claim(folder: Path) -> None:
    """Make a folder that only this user can write to, or check that it is one.

    It may be a link: the user's own, to a larger disk.

    Raises:
        WorkspaceError: It cannot be made, is not this user's, or others can write to it.
    """
    try:
        make_private_folders(folder)
        reason = _why_refused(folder, above=False)
        usable = os.access(folder, os.W_OK | os.X_OK)
        folder.stat()  # or one that was removed meanwhile would count as read-only
    except OSError as error:
        reason = f"it cannot be made: {error.strerror or error}"
        raise WorkspaceError(folder, reason, CHOOSE_ANOTHER_PLACE) from error
    if not usable:
        # Torch would fail to compile there, where without us it would not.
        raise WorkspaceError(folder, "it cannot be written to", CHOOSE_ANOTHER_PLACE)
    if reason:
        remedy = f"chmod go-w {folder}, or {CHOOSE_ANOTHER_PLACE}"
        raise WorkspaceError(folder, f"it {reason}", remedy)


def make_private(folder: Path) -> None:
    """Claim a folder whose name anybody can guess, in a place where all can write.

    Raises:
        WorkspaceError: As ``claim`` does, and for a link, which may be another user's.
    """
    claim(folder)
    if folder.is_symlink():
        raise WorkspaceError(folder, "it is a link, not a folder", CHOOSE_ANOTHER_PLACE)


def check_way(folder: Path) -> None:
    """Refuse a place that another user could replace by one of their own.

    Raises:
        WorkspaceError: Another user could.
    """
    for each in (folder, *folder.parents):
        try:
            link, above = each.lstat(), each != folder
            if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.getuid()):
                reason = f"{each} is a link of user {link.st_uid}, who could lead it elsewhere"
            elif above and is_replaceable(each):
                reason = f"lies in {each}, where everybody can replace it"
            else:
                continue
        except OSError:
            continue  # made later, or refused with a reason
        raise WorkspaceError(folder, reason, CHOOSE_ANOTHER_PLACE)


def is_replaceable(folder: Path) -> bool:
    """Whether everybody can replace what lies in a folder."""
    mode = folder.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _why_refused(folder: Path, *, above: bool) -> str:
    """Why others could put code below a folder, or empty.

    Args:
        folder: The folder.
        above: Whether a private folder is to be made inside.
    """
    status = folder.stat()
    if not stat.S_ISDIR(status.st_mode):
        return "is not a folder"
    if status.st_uid != os.getuid() and not (above and status.st_uid == 0):
        return f"belongs to user {status.st_uid}, who could plant machine code there"
    sticky = bool(status.st_mode & stat.S_ISVTX)
    if status.st_mode & _OTHERS_MAY_WRITE and not (above and sticky):
        return "can be written to by others, who could plant machine code there"
    return ""
