"""The settings of the tests in the current folder. Pytest itself finds and reads their file.

No session is run and no conftest is loaded, so it takes milliseconds and changes nothing.
Options in ``addopts`` and ``PYTEST_ADDOPTS`` are laid over variables, as those of a command
line are.
"""

from __future__ import annotations

import argparse
import inspect
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.session_settings import Layer, Settings, variables_layer
from pytest_compilecache.settings import SESSION_SETTINGS

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
    ini = {each.name: values.get(each.ini) for each in SESSION_SETTINGS}
    return Settings.resolve(
        Layer("ini", name, ini, base),
        variables_layer(environ, here),
        Layer("option", f"addopts in {name}", _typed(_words(values.get("addopts", ""))), here),
        Layer("option", _ADDOPTS, _typed(_words(environ.get(_ADDOPTS, ""))), here),
    )


def _words(options: object) -> list[str]:
    if isinstance(options, list):  # in TOML
        return [str(word) for word in options]
    try:
        return shlex.split(str(options))
    except ValueError:
        return []  # pytest will say so


def _typed(words: Iterable[str]) -> dict[str, object]:
    """What options say; the last one of a kind holds."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for each in SESSION_SETTINGS:
        if each.option:
            how: dict[str, Any] = {} if each.metavar else {"action": "store_true", "default": None}
            parser.add_argument(each.flag, dest=each.name, **how)
    try:
        return vars(parser.parse_known_args(list(words))[0])
    except argparse.ArgumentError:
        return {}  # pytest will say so


def _configuration(here: Path) -> tuple[Path | None, Mapping[str, Any]]:
    """The file that pytest takes in a folder, and its values.

    Raises:
        SettingsError: The file cannot be read.
    """
    import pytest  # noqa: PLC0415  (most commands do not need it)
    from _pytest.config.findpaths import determine_setup  # noqa: PLC0415

    asked: dict[str, Any] = {
        "inifile": None,
        "override_ini": None,
        "args": [str(here)],
        "rootdir_cmd_arg": None,
        "invocation_dir": here,
    }
    known = inspect.signature(determine_setup).parameters  # they differ from version to version
    try:
        found: tuple[Any, ...] = determine_setup(
            **{name: value for name, value in asked.items() if name in known}
        )
    except (pytest.UsageError, pytest.fail.Exception, OSError, ValueError) as error:
        reason = f"it cannot be read: {str(error).splitlines()[0]}"
        raise SettingsError(
            "pytest's configuration", reason, "correct it; pytest refuses it too"
        ) from error
    _root, file, values = found[:3]
    # Since pytest 9, a value comes with where it was found.
    return file, {name: getattr(value, "value", value) for name, value in values.items()}
