"""The settings of the two calls and the commands: our variables, and the documented aliases.

A variable that is empty is not set. A number out of its range is clamped; a default above a
cap that was lowered is the cap. Nothing is accepted as a folder that others could put code
into.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.limits import DAY, MIB, Limits
from pytest_compilecache.places import check_place, is_replaceable, user_cache_folder
from pytest_compilecache.settings import (
    BY_NAME,
    MOST,
    NUMBER,
    SERVER_SETTINGS,
    Setting,
    Source,
    parse_path,
    parse_store,
)

_LARGEST_CAP = 2**31 - 1
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}")  # int() refuses those of many thousand digits
_SHOWN_DIGITS = 20
_NAME_ONE = "name a folder that this user can use"


class Clamped(NamedTuple):
    """A number that was out of its range, which begins with 1.

    Attributes:
        name: Its variable.
        given: What it said.
        used: What is used.
        largest: The end of the range.
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


class Places(NamedTuple):
    """Where things lie on a server's machine.

    Attributes:
        app: The default for work, where it can be written to.
        mount: The shared file system; the default store is inside.
        temporary: The temp directory.
        user_cache: The user's cache folder; found out when it is needed.
        inductor: Below these, Inductor's folder is accepted as it is.
        work: Below these, the folder for work is accepted as it is.
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
        try:
            return (self.user_cache or user_cache_folder()) / "store"
        except SettingsError as error:
            reason = f"there is no default: {error.reason}"
            raise SettingsError(BY_NAME["store"].variable, reason, _NAME_ONE) from error

    def work_folder(self) -> Path:
        """The default for work."""
        # In a folder where everybody can replace files, the workspace would be refused.
        if _usable(self.app, os.W_OK) and not is_replaceable(self.app):
            return self.app
        return self.temporary_folder()

    def temporary_folder(self) -> Path:
        """The temp directory.

        Raises:
            SettingsError: There is none that can be written to.
        """
        if self.temporary is not None:
            return self.temporary
        import tempfile  # noqa: PLC0415  (2 ms, and rarely needed)

        try:
            return Path(tempfile.gettempdir())
        except FileNotFoundError as error:
            reason = f"there is no place to work: {error.strerror}"
            raise SettingsError(BY_NAME["work"].variable, reason, _NAME_ONE) from error

    def documented(self, setting: str) -> tuple[Path, ...]:
        """The places below which a setting may name any folder."""
        prefixes = self.inductor if setting == "inductor" else self.work
        expanded = [Path(os.path.expanduser(prefix)) for prefix in prefixes]  # noqa: PTH111  (~ stays)
        return tuple(dict.fromkeys((*expanded, self.temporary_folder())))

    def defaults(self) -> dict[str, str]:
        """What holds where a setting that names a place is not given, in words."""
        return {
            "store": f"{self.mount / 'compile_cache'} where {self.mount} can be read, else a store "
            "in the user's cache folder",
            "inductor": "a folder in the workspace",
            "work": f"{self.app} where this user can write to it and not everybody, else the temp "
            "directory",
        }


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What is in force for the two calls and the commands.

    Attributes:
        store: The store: a folder, or a URL.
        work: The folder that the workspace is made in.
        inductor: The folder that the user named for Inductor, or None.
        limits: What a save and a workspace may take.
        clamped: The numbers that were out of their range.
        origins: Where each setting that is not a default came from: the name of a variable,
            or what the caller gave it by.
    """

    store: str
    work: Path
    inductor: Path | None
    limits: Limits
    clamped: tuple[Clamped, ...]
    origins: Mapping[str, str]


def read_server_settings(
    environ: Mapping[str, str],
    places: Places | None = None,
    *,
    store: str | None = None,
    given_by: str = "--store",
) -> ServerSettings:
    """Read the variables and look at the folders that they name.

    Args:
        environ: The variables, without those that we set.
        places: Where things lie.
        store: The store, where the caller names it.
        given_by: What the caller names it by.

    Raises:
        SettingsError: A variable has a value that cannot be used; it is named.
    """
    read = _Variables(environ, places or Places())
    numbers: dict[str, Any] = {
        each.name: read.number(each) for each in SERVER_SETTINGS if each.kind is NUMBER
    }
    max_store_mb = numbers["max_store_mb"]
    limits = Limits(
        pack_bytes=numbers["max_save_mb"] * MIB,
        split=False,
        store_bytes=None if max_store_mb is None else max_store_mb * MIB,
        workspace_bytes=numbers["max_workspace_mb"] * MIB,
        concurrent_saves=numbers["max_concurrent_saves"],
        lock_seconds=float(numbers["lock_seconds"]),
        incomplete_seconds=float(numbers["incomplete_seconds"]),
        keep_seconds=numbers["keep_days"] * DAY,
    )
    if store is None:
        # Only here: a user without a home directory has no default, and needs none.
        store = read.store() or str(read.places.store())
    else:
        read.origins["store"] = given_by
    return ServerSettings(
        store=store,
        work=read.folder("work") or read.places.work_folder(),
        inductor=read.folder("inductor"),
        limits=limits,
        clamped=tuple(read.clamped),
        origins=MappingProxyType(read.origins),
    )


class _Variables:
    """The variables of servers, as they are read one by one."""

    def __init__(self, environ: Mapping[str, str], places: Places) -> None:
        self._environ = environ
        self.places = places
        self.clamped: list[Clamped] = []
        self.origins: dict[str, str] = {}

    def store(self) -> str:
        name, text = self._given(BY_NAME["store"])
        return parse_store(text, Source(name, Path.cwd())) if text else ""

    def folder(self, setting: str) -> Path | None:
        name, text = self._given(BY_NAME[setting])
        if not text:
            return None
        path = parse_path(text, Source(name, Path.cwd()))
        check_place(name, path, self.places.documented(setting))
        return path

    def number(self, setting: Setting) -> int | None:
        name, text = self._given(setting)
        cap_name, largest = "", MOST
        if setting.cap is not None:
            cap_name, cap_text = self._first(setting.cap_variable, setting.cap.alias)
            largest = self._clamp(cap_name, cap_text, _LARGEST_CAP) or setting.cap.default
            # Raise the cap by a name of the same kind as the number's own.
            cap_name = setting.cap.alias if name == setting.alias else setting.cap_variable
        given = self._clamp(name, text, largest, cap_name)
        if given is not None or setting.default is None:
            return given
        return min(int(setting.default), largest)

    def _given(self, setting: Setting) -> tuple[str, str]:
        """The variable that gives a setting, and its text; the text is empty where none does."""
        name, text = self._first(setting.variable, setting.alias)
        if text:
            self.origins[setting.name] = name
        return name, text

    def _first(self, *names: str) -> tuple[str, str]:
        for name in filter(None, names):
            text = self._environ.get(name, "").strip()
            if text:
                return name, text
        return names[0], ""

    def _clamp(self, name: str, text: str, largest: int, cap: str = "") -> int | None:
        """A variable's number, brought into its range; None where it is not set."""
        if not text:
            return None
        if not _WHOLE_NUMBER.fullmatch(text):
            remedy = f"use a number from 1 to {largest}, or unset it"
            raise SettingsError(name, f"{text!r:.80} is not a whole number", remedy)
        given = int(text)
        used = min(max(given, 1), largest)
        if used != given:
            self.clamped.append(Clamped(name, given, used, largest, cap))
        return used


def _usable(folder: Path, access: int) -> bool:
    # Path.is_dir raises for a mount whose server has gone.
    return os.path.isdir(folder) and os.access(folder, access | os.X_OK)  # noqa: PTH112
