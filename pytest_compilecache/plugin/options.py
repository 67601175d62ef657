"""Command-line options and their ini twins, made into settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.settings import (
    SAVE_POLICIES,
    Layer,
    Settings,
    environment_layer,
    setting_names,
)

_OPTIONS: dict[str, dict[str, Any]] = {
    "store": {
        "metavar": "URL",
        "help": "folder or URL of the store that compiled artifacts are restored from and saved to",
    },
    "save": {
        "metavar": "{" + ",".join(SAVE_POLICIES) + "}",
        "help": "save what was compiled to the store: auto (default; not in builds of strangers' "
        "code, or where that cannot be told), always, never",
    },
    "dir": {
        "metavar": "PATH",
        "help": "folder of the live compile caches (default: in the user's cache folder)",
    },
    "strict": {
        "action": "store_true",
        "default": None,
        "help": "fail the session when the cache meets trouble, instead of warning",
    },
}


def add_options(parser: pytest.Parser) -> None:
    """Register each setting as an option and as an ini value."""
    group = parser.getgroup("compilecache", "torch.compile caches")
    for name, arguments in _OPTIONS.items():
        group.addoption(f"--compilecache-{name}", dest=_dest(name), **arguments)
        kind: Any = "bool" if arguments.get("action") == "store_true" else "string"
        parser.addini(_dest(name), f"same as --compilecache-{name}", type=kind, default=None)


def given(config: pytest.Config) -> bool:
    """Whether the command line names one of our options."""
    namespace = config.known_args_namespace
    return any(getattr(namespace, _dest(name), None) is not None for name in _OPTIONS)


def resolve_settings(config: pytest.Config) -> Settings:
    """The settings in force.

    Raises:
        pytest.UsageError: A value cannot be used.
    """
    here = config.invocation_params.dir
    ini = {name: config.getini(_dest(name)) for name in setting_names()}
    namespace = config.known_args_namespace
    typed = {name: getattr(namespace, _dest(name), None) for name in setting_names()}
    file = config.inipath.name if config.inipath else "ini"
    try:
        return Settings.resolve(
            Layer(file, ini, config.inipath.parent if config.inipath else here),
            environment_layer(os.environ, Path.cwd()),
            Layer("command line", typed, here),
        )
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None


def _dest(name: str) -> str:
    return f"compilecache_{name}"
