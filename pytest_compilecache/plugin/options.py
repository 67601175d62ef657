"""The settings of test sessions as pytest's options and ini values, and what they come to.

It is loaded with every session, so it loads the table of settings and nothing more. Where
another plugin has registered one of our names before, that plugin keeps it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_compilecache.settings import SESSION_SETTINGS, Setting

if TYPE_CHECKING:
    from pytest_compilecache.session_settings import Settings

_YIELDED = "compilecache-yielded"


class Yielded:
    """A plugin without hooks: keeps which of our names another plugin registered before us."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.warned = False


def add_options(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register each setting as an option and as an ini value."""
    yielded = Yielded()
    group = parser.getgroup("compilecache", "torch.compile caches")
    for each in SESSION_SETTINGS:
        if each.option and not _add_option(parser, group, each):
            yielded.names.add(each.flag)
        if each.ini in getattr(parser, "_inidict", {}):  # pytest would replace it
            yielded.names.add(each.ini)
            continue
        kind: Any = "bool" if isinstance(each.default, bool) else "string"
        text = f"same as {each.flag}" if each.option else _help(each)
        parser.addini(each.ini, text, type=kind, default=None)
    if yielded.names:
        pluginmanager.register(yielded, _YIELDED)


def _add_option(parser: pytest.Parser, group: pytest.OptionGroup, setting: Setting) -> bool:
    # Pytest before 9 finds a conflict when it parses, where only a traceback is left.
    groups = [getattr(parser, "_anonymous", None), *getattr(parser, "_groups", ())]
    options = (option for each in groups if each is not None for option in each.options)
    if any(setting.flag in option.names() for option in options):
        return False
    how: dict[str, Any] = (
        {"metavar": setting.metavar} if setting.metavar else {"action": "store_true"}
    )
    try:
        group.addoption(setting.flag, dest=_dest(setting), default=None, help=_help(setting), **how)
    except (ValueError, argparse.ArgumentError):
        return False
    return True


def _help(setting: Setting) -> str:
    default = setting.default
    stated = "" if default is None or isinstance(default, bool) else f" (default: {default})"
    return f"{setting.help.rstrip('.')}{stated}"


def _dest(setting: Setting) -> str:
    # Not the name that an equal option of another plugin would have.
    return f"_{setting.ini}"


def given(config: pytest.Config) -> bool:
    """Whether the command line names one of our options."""
    return any(value is not None for value in _typed(config).values())


def resolve_settings(config: pytest.Config) -> Settings | None:
    """The settings in force, or None where none is given and the defaults hold.

    Raises:
        pytest.UsageError: A value cannot be used.
    """
    yielded = _yielded(config)
    ini = {each.name: _ini(config, each) for each in SESSION_SETTINGS if each.ini not in yielded}
    variables = (os.environ.get(each.variable) for each in SESSION_SETTINGS)
    typed = _typed(config)
    if all(value is None for value in (*ini.values(), *variables, *typed.values())):
        return None
    from pytest_compilecache.errors import SettingsError  # noqa: PLC0415
    from pytest_compilecache.session_settings import (  # noqa: PLC0415
        Layer,
        Settings,
        variables_layer,
    )

    here = config.invocation_params.dir
    file = config.inipath.name if config.inipath else "ini"
    try:
        return Settings.resolve(
            Layer("ini", file, ini, config.inipath.parent if config.inipath else here),
            variables_layer(os.environ, Path.cwd()),
            Layer("option", "command line", typed, here),
        )
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None


def _typed(config: pytest.Config) -> dict[str, object]:
    namespace = config.known_args_namespace
    return {
        each.name: getattr(namespace, _dest(each), None) for each in SESSION_SETTINGS if each.option
    }


def _yielded(config: pytest.Config) -> set[str]:
    """The names that are another plugin's; of these, one warning."""
    found: Yielded | None = config.pluginmanager.get_plugin(_YIELDED)
    if found is None:
        return set()
    if not found.warned:
        from pytest_compilecache.errors import CompileCacheWarning  # noqa: PLC0415

        found.warned = True
        names = ", ".join(sorted(found.names))
        text = (
            f"{names}: another plugin or conftest registered the same name before "
            "pytest-compilecache, which leaves it alone (give the setting by its COMPILECACHE_* "
            "variable)"
        )
        try:
            config.issue_config_time_warning(CompileCacheWarning(text), stacklevel=2)
        except CompileCacheWarning as error:  # where warnings are errors
            raise pytest.UsageError(str(error)) from None
    return found.names


def _ini(config: pytest.Config, setting: Setting) -> object:
    try:
        return config.getini(setting.ini)
    except (TypeError, ValueError) as error:  # of pytest's own parsing, which names nothing
        file = config.inipath.name if config.inipath else "ini"
        raise pytest.UsageError(f"{setting.ini} ({file}): {error}") from None
