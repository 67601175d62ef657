"""What the environment variables of a deployment ask for. The plugin never reads them.

The workspace is `compilecache-<user id>` in `LOCAL_WORK_DIR`: precompiled headers, records,
quarantine and, unless `TORCHINDUCTOR_CACHE_DIR` names another folder, Inductor's. All of it
can be made again from the store. `/tmp` stands for the temp directory as well. A variable
that is empty is not set. A number out of its range is clamped; a default above a cap that
was lowered is the cap.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.limits import MIB, Limits
from pytest_compilecache.places import check_place, is_replaceable, user_cache_folder

STORE = "B10FS_CACHE_DIR"
INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
WORK = "LOCAL_WORK_DIR"

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}")  # int() refuses those of many thousand digits
_NAME_ONE = "name a folder that this user can use"
_LARGEST = 2**31 - 1
_SHOWN_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Bounded:
    """A number with a cap that can be moved.

    Attributes:
        name: Its variable.
        default: What holds when nobody says anything.
        cap: The variable of its cap.
        cap_default: The cap when nobody says anything.
        means: What it bounds.
    """

    name: str
    default: int
    cap: str
    cap_default: int
    means: str


SIZE = Bounded(
    "MAX_CACHE_SIZE_MB",
    1024,
    "MAX_CACHE_SIZE_CAP_MB",
    1024,
    "MiB that one save may take in the store, compressed; a larger one publishes nothing.",
)
WORKSPACE = Bounded(
    "MAX_WORKSPACE_SIZE_MB",
    10_240,
    "MAX_WORKSPACE_SIZE_CAP_MB",
    1_048_576,
    "MiB that the live caches are brought down to after a save, what was used longest ago first.",
)
SAVES = Bounded(
    "MAX_CONCURRENT_SAVES",
    50,
    "MAX_CONCURRENT_SAVES_CAP",
    100,
    "How many processes may write to the store at once; the others wait.",
)
LOCK = Bounded(
    "CLEANUP_LOCK_TIMEOUT_SECONDS",
    30,
    "LOCK_TIMEOUT_CAP_SECONDS",
    3600,
    "Seconds that a load or a save waits for its turn, and that an owner on a network file "
    "system may be silent.",
)
INCOMPLETE = Bounded(
    "CLEANUP_INCOMPLETE_TIMEOUT_SECONDS",
    60,
    "INCOMPLETE_TIMEOUT_CAP_SECONDS",
    7200,
    "Seconds after which an unfinished file goes whose writer cannot be told to be alive.",
)
NUMBERS = (SIZE, WORKSPACE, SAVES, LOCK, INCOMPLETE)


@dataclass(frozen=True, slots=True)
class Clamped:
    """A number that was out of its range.

    Attributes:
        name: Its variable.
        given: What it said.
        used: What is used.
        largest: The end of the range, which begins with 1.
        cap: The variable that moves the end, or empty.
    """

    name: str
    given: int
    used: int
    largest: int
    cap: str = ""

    def __str__(self) -> str:
        given = str(self.given)
        shown = given if len(given) <= _SHOWN_DIGITS else f"{given[:_SHOWN_DIGITS]}..."
        more = f" (raise {self.cap} for more)" if self.cap and self.given > self.largest else ""
        return (
            f"{self.name}: {shown} is out of the range from 1 to {self.largest}, "
            f"and {self.used} is used{more}"
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie on a machine.

    Attributes:
        app: The default for work, where it can be written to.
        mount: The shared file system; the default store is inside.
        temporary: The temp directory.
        user_cache: The user's cache folder; found out when it is needed.
        inductor: Where Inductor's folder may lie without more being asked.
        work: Where work may be done without more being asked.
    """

    app: Path = Path("/app")
    mount: Path = Path("/cache/model")
    temporary: Path | None = None
    user_cache: Path | None = None
    inductor: tuple[Path, ...] = (Path("/tmp"), Path("/cache"), Path("~/.cache"))  # noqa: S108
    work: tuple[Path, ...] = (Path("/app"), Path("/tmp"), Path("/cache"))  # noqa: S108

    def store(self) -> Path:
        """The default store.

        Raises:
            SettingsError: There is none.
        """
        if _usable(self.mount, os.R_OK):
            return self.mount / "compile_cache"
        if self.user_cache is not None:
            return self.user_cache / "store"
        try:
            return user_cache_folder() / "store"
        except SettingsError as error:
            raise SettingsError(STORE, f"there is no default: {error.reason}", _NAME_ONE) from error

    def work_folder(self) -> Path:
        """The default for work."""
        # Where everybody can replace what we make, the workspace would be refused.
        if _usable(self.app, os.W_OK) and not is_replaceable(self.app):
            return self.app
        return self.temporary_folder()

    def temporary_folder(self) -> Path:
        """The temp directory.

        Raises:
            SettingsError: There is none that can be written to.
        """
        try:
            return self.temporary or Path(tempfile.gettempdir())
        except FileNotFoundError as error:
            reason = f"there is no place to work: {error.strerror}"
            raise SettingsError(WORK, reason, _NAME_ONE) from error

    def documented(self, variable: str) -> tuple[Path, ...]:
        """The places below which a variable may name any folder."""
        prefixes = self.inductor if variable == INDUCTOR else self.work
        expanded = [Path(os.path.expanduser(prefix)) for prefix in prefixes]  # noqa: PTH111  (~ stays)
        return tuple(dict.fromkeys((*expanded, self.temporary_folder())))

    def defaults(self) -> dict[str, str]:
        """What holds where a variable that names a place is not set, in words."""
        return {
            STORE: f"{self.mount / 'compile_cache'} where {self.mount} can be read, else a store "
            "in the user's cache folder",
            INDUCTOR: "a folder in the workspace",
            WORK: f"{self.app} where this user can write to it and not everybody, else the temp "
            "directory",
        }


@dataclass(frozen=True, slots=True)
class Deployment:
    """What the variables come to.

    Attributes:
        store: The store: a folder, or a URL.
        work: The folder that the workspace is made in.
        inductor: The folder that the user named for Inductor, or None.
        limits: What a save and a workspace may take.
        clamped: The numbers that were out of their range.
    """

    store: str
    work: Path
    inductor: Path | None
    limits: Limits
    clamped: tuple[Clamped, ...] = ()


def read_deployment(
    environ: Mapping[str, str], places: Places | None = None, *, store: str | None = None
) -> Deployment:
    """Read the variables and look at the folders that they name.

    Args:
        environ: The variables, without those that we set.
        places: Where things lie.
        store: The store, where something else than its variable names it.

    Raises:
        SettingsError: A variable has a value that cannot be used; it is named.
    """
    places = places or Places()
    clamped: list[Clamped] = []
    limits = Limits(
        pack_bytes=_number(environ, SIZE, clamped) * MIB,
        split=False,
        workspace_bytes=_number(environ, WORKSPACE, clamped) * MIB,
        concurrent_saves=_number(environ, SAVES, clamped),
        lock_seconds=float(_number(environ, LOCK, clamped)),
        incomplete_seconds=float(_number(environ, INCOMPLETE, clamped)),
    )
    return Deployment(
        store=(_store(environ) or str(places.store())) if store is None else store,
        work=_folder(environ, WORK, places) or places.work_folder(),
        inductor=_folder(environ, INDUCTOR, places),
        limits=limits,
        clamped=tuple(clamped),
    )


def _usable(folder: Path, access: int) -> bool:
    # Path.is_dir raises for a mount whose server has gone.
    return os.path.isdir(folder) and os.access(folder, access | os.X_OK)  # noqa: PTH112


def _number(environ: Mapping[str, str], number: Bounded, clamped: list[Clamped]) -> int:
    largest = _clamp(environ, number.cap, _LARGEST, "", clamped) or number.cap_default
    value = _clamp(environ, number.name, largest, number.cap, clamped)
    return min(number.default, largest) if value is None else value


def _clamp(
    environ: Mapping[str, str], name: str, largest: int, cap: str, clamped: list[Clamped]
) -> int | None:
    """A variable's number, brought into its range; None where it is not set."""
    text = _text(environ, name)
    if not text:
        return None
    if not _WHOLE_NUMBER.fullmatch(text):
        remedy = f"use a number from 1 to {largest}, or unset it"
        raise SettingsError(name, f"{text!r:.80} is not a whole number", remedy)
    given = int(text)
    used = min(max(given, 1), largest)
    if used != given:
        clamped.append(Clamped(name, given, used, largest, cap))
    return used


def _store(environ: Mapping[str, str]) -> str:
    text = _text(environ, STORE)
    return text if not text or "://" in text else str(_path(STORE, text))


def _folder(environ: Mapping[str, str], name: str, places: Places) -> Path | None:
    text = _text(environ, name)
    if not text:
        return None
    path = _path(name, text)
    check_place(name, path, places.documented(name))
    return path


def _text(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _path(name: str, text: str) -> Path:
    try:
        return Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  (links stay links)
    except RuntimeError:
        raise SettingsError(
            name, f"{text!r:.80}: there is no such user", "write the path out"
        ) from None
