"""Where a workspace lies, and which environment made it. It writes no artifact."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_compilecache.places import check_way, claim, user_cache_folder

STAMP = "compilecache-environment"
# Where getpass looks, before it asks the system's user database.
_NAMES_OF_USER = ("LOGNAME", "USER", "LNAME", "USERNAME")
_UNSAFE_IN_NAMES = str.maketrans(dict.fromkeys('\\/:*?"<>|', "_"))
USE_MARK = "in-use-"  # how the names of marks begin; see ``sharing``


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders of one environment.

    Attributes:
        root: Ours: state, quarantine and, by default, everything below.
        inductor: What ``TORCHINDUCTOR_CACHE_DIR`` names; Triton's folder is inside.
        headers: The precompiled headers.
        unshared: Why the folder that the user named is followed and otherwise left alone:
            nothing is restored to it, saved from it, healed or evicted. Empty where it is ours.
    """

    root: Path
    inductor: Path
    headers: Path
    unshared: str = ""

    @property
    def state(self) -> Path:
        """Our own records about the workspace."""
        return self.root / "state"

    @property
    def quarantine(self) -> Path:
        """Where torn files are moved to."""
        return self.root / "quarantine"

    def areas(self) -> tuple[tuple[str, Path], ...]:
        """The folders whose files travel, each with its name in a pack."""
        headers = ("headers", self.headers)
        return (headers,) if self.unshared else (("inductor", self.inductor), headers)

    def stamped(self) -> tuple[Path, ...]:
        """The folders that say which environment made them."""
        return (self.state,) if self.unshared else (self.inductor, self.state)

    def of_whole_folders(self) -> tuple[Path, ...]:
        """Folders of ours in which each folder is of use only as a whole."""
        return ()

    def prepare(self, environment_id: str) -> None:
        """Make the folders, private to this user, and stamp them.

        Raises:
            WorkspaceError: A folder cannot be made, is not ours, or others can write to it.
        """
        areas = [folder for _, folder in self.areas()]
        for folder in (self.root.parent, *areas):
            check_way(folder)
        for folder in (self.root.parent, self.root, *areas, self.state):
            claim(folder)
        for stamp in (folder / STAMP for folder in self.stamped()):
            if not stamp.exists():
                write_atomically(stamp, environment_id.encode())


def default_root() -> Path:
    """The folder of all workspaces in the user's cache folder.

    Raises:
        SettingsError: The user has no home directory.
    """
    return user_cache_folder()


def choose_workspace(root: Path, environment_id: str, user_directory: str | None) -> Workspace:
    """The workspace of an environment.

    Args:
        root: The folder of all workspaces.
        environment_id: The environment.
        user_directory: A ``TORCHINDUCTOR_CACHE_DIR`` that the user set. It is followed; where
            it holds artifacts of another environment, or of none that is known, it is left
            alone otherwise.
    """
    own = root / "v1" / environment_id
    if user_directory is None:
        return Workspace(own, own / "inductor", own / "headers")
    named = Path(os.path.abspath(user_directory))  # noqa: PTH100  (resolve() would follow links)
    reason = why_foreign(named, environment_id)
    unshared = f"{named} {reason}, so nothing is restored to it or saved from it" if reason else ""
    return Workspace(own, named, own / "headers", unshared)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a small file so that readers see the old bytes or the new ones."""
    handle, name = tempfile.mkstemp(prefix=".compilecache-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def why_foreign(
    directory: Path, environment_id: str, *, besides: frozenset[str] = frozenset()
) -> str | None:
    """Why what lies in the directory may not be used, or None when it may.

    Args:
        directory: The folder.
        environment_id: Who wants to use it.
        besides: Names in it that do not matter.
    """
    try:
        made_by = (directory / STAMP).read_text(encoding="utf-8")
    except FileNotFoundError:
        try:
            empty = all(entry.name in besides for entry in directory.iterdir())
        except FileNotFoundError:
            empty = True
        except OSError:
            return None  # prepare() meets the same trouble and explains it
        return None if empty else "holds artifacts of an unknown environment"
    except (OSError, UnicodeDecodeError):
        return "has an unreadable stamp"
    return None if made_by == environment_id else f"belongs to environment {made_by[:80]}"


def torch_default(environ: Mapping[str, str]) -> Path:
    """Where torch keeps its artifacts when nobody says anything, and its headers always."""
    return Path(tempfile.gettempdir()) / f"torchinductor_{_user(environ)}"


def _user(environ: Mapping[str, str]) -> str:
    names = (environ.get(name) for name in _NAMES_OF_USER)
    name = next(filter(None, names), None)
    try:
        name = name or _from_the_system()
    except (KeyError, ImportError, OSError):
        name = f"uid_{os.getuid()}"
    return name.translate(_UNSAFE_IN_NAMES)


def _from_the_system() -> str:
    import getpass  # noqa: PLC0415  (3 ms, and the variables nearly always tell)

    return getpass.getuser()
