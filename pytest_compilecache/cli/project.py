"""The settings of the tests in the current folder, as pytest would find them. It runs no pytest.

Pytest reads the first file of its own kinds at or above the folder; options in ``addopts``
and ``PYTEST_ADDOPTS`` are laid over variables, as those of a command line are.
"""

from __future__ import annotations

import configparser
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.settings import Layer, Settings, environment_layer, setting_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Of compiling, not of the cache: their names say so.
_INI_NAMES = {"compiled": "compiled", "fallback": "compiled_fallback"}
_SWITCHES = frozenset({"strict"})
_TYPED = ("store", "save", "dir", "strict", "report", "compiled", "fallback")
_ADDOPTS = "PYTEST_ADDOPTS"


def settings_of_tests(environ: Mapping[str, str], here: Path) -> Settings:
    """What holds for a session that is started in a folder without options.

    Args:
        environ: The user's variables.
        here: The folder.

    Raises:
        SettingsError: A value, or the file that it stands in, cannot be used.
    """
    file, values = _configuration(here)
    name, base = (file.name, file.parent) if file else ("ini", here)
    ini = {setting: values.get(ini_name(setting)) for setting in setting_names()}
    return Settings.resolve(
        Layer(name, ini, base),
        environment_layer(environ, here),
        Layer(f"addopts in {name}", _typed(_words(values.get("addopts", ""))), here),
        Layer(_ADDOPTS, _typed(_words(environ.get(_ADDOPTS, ""))), here),
    )


def ini_name(setting: str) -> str:
    """What a setting is called in pytest's configuration."""
    return _INI_NAMES.get(setting, f"compilecache_{setting}")


def _words(options: object) -> list[str]:
    if isinstance(options, list):  # in TOML
        return [str(word) for word in options]
    try:
        return shlex.split(str(options))
    except ValueError:
        return []  # pytest will say so


def _typed(words: Iterable[str]) -> dict[str, object]:
    """What options say; the last one of a kind holds."""
    flags = {f"--{ini_name(name).replace('_', '-')}": name for name in _TYPED}
    values: dict[str, object] = {}
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        name = flags.get(flag)
        if name in _SWITCHES:
            values[name] = True
        elif name is not None:
            values[name] = value if equals else next(rest, None)
    return values


def _configuration(here: Path) -> tuple[Path | None, Mapping[str, Any]]:
    for folder in (here, *here.parents):
        for name, read in _FILES:
            file = folder / name
            if file.is_file() and (values := _read(file, read)) is not None:
                return file, values
    return None, {}


def _read(file: Path, read: Callable[[str], Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    try:
        return read(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error) as error:
        reason = f"it cannot be read: {str(error).splitlines()[0]}"
        raise SettingsError(str(file), reason, "mend it, as pytest would ask as well") from error


def _pytest_ini(text: str) -> Mapping[str, Any] | None:
    return _section(text, "pytest") or {}  # which is pytest's, even when it is empty


def _tox_ini(text: str) -> Mapping[str, Any] | None:
    return _section(text, "pytest")


def _setup_cfg(text: str) -> Mapping[str, Any] | None:
    return _section(text, "tool:pytest")


def _section(text: str, name: str) -> Mapping[str, Any] | None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return dict(parser[name]) if name in parser else None


def _pytest_toml(text: str) -> Mapping[str, Any] | None:
    table = tomllib.loads(text).get("pytest", {})
    return table if isinstance(table, dict) else {}


def _pyproject(text: str) -> Mapping[str, Any] | None:
    table = tomllib.loads(text).get("tool", {}).get("pytest")
    if not isinstance(table, dict):
        return None
    older = table.get("ini_options")
    # Pytest 9 takes a table without that as well.
    return older if isinstance(older, dict) else table or None


_FILES: tuple[tuple[str, Callable[[str], Mapping[str, Any] | None]], ...] = (
    ("pytest.toml", _pytest_toml),
    (".pytest.toml", _pytest_toml),
    ("pytest.ini", _pytest_ini),
    (".pytest.ini", _pytest_ini),
    ("pyproject.toml", _pyproject),
    ("tox.ini", _tox_ini),
    ("setup.cfg", _setup_cfg),
)
