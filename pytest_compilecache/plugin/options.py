"""Command-line options and their ini twins, made into settings.

It is loaded with the plugin, and the settings are not, unless one is given.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_compilecache.settings import Settings

_OPTIONS: dict[str, dict[str, Any]] = {
    "store": {
        "metavar": "URL",
        "help": "folder or URL of the store that compiled artifacts are restored from and saved to",
    },
    "save": {
        "metavar": "{auto,always,never}",
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
    "report": {
        "metavar": "PATH",
        "help": "file that the session's report is written to: .md for people, .json for programs",
    },
}
# Of compiling, not of the cache: the flags say so.
_COMPILING: dict[str, dict[str, Any]] = {
    "run": {
        "flag": "--compilecache-run",
        "metavar": "{compiled,eager,both}",
        "help": "run marked tests compiled, eager or both",
    },
    "isolation": {
        "flag": "--compilecache-isolation",
        "metavar": "{none,limit,test}",
        "help": "what tests do not share",
    },
    "fallback": {
        "flag": "--compilecache-fallback",
        "metavar": "{eager,fail,skip,xfail}",
        "help": "what a failure to compile means for a test: it runs eager with a warning "
        "(default), fails, is skipped, or is expected to fail",
    },
}
# Rarely given, and not for one run only.
_INI_ONLY = {
    "max_store_mb": "MiB that the store may take; the oldest packs make room (default: no bound)",
    "max_workspace_mb": "MiB that the live compile cache is brought down to, the least recently "
    "used first, when no session uses it (default: 10240)",
    "keep_days": "days after which what no session used is deleted (default: 30)",
    "compiler_seconds": "seconds after which a C++ compiler counts as one that hangs, and what it "
    "compiles runs eager (default: 300)",
}
_TYPED = (*_OPTIONS, *_COMPILING)
_NAMES = (*_TYPED, *_INI_ONLY)


def add_options(parser: pytest.Parser) -> None:
    """Register each setting as an option and as an ini value."""
    group = parser.getgroup("compilecache", "torch.compile caches")
    for name, arguments in _OPTIONS.items():
        group.addoption(f"--compilecache-{name}", dest=_dest(name), **arguments)
        kind: Any = "bool" if arguments.get("action") == "store_true" else "string"
        parser.addini(_dest(name), f"same as --compilecache-{name}", type=kind, default=None)
    for name, arguments in _COMPILING.items():
        rest = {key: value for key, value in arguments.items() if key != "flag"}
        group.addoption(arguments["flag"], dest=_dest(name), **rest)
        parser.addini(_ini_name(name), f"same as {arguments['flag']}", type="string", default=None)
    for name, text in _INI_ONLY.items():
        parser.addini(_dest(name), text, type="string", default=None)


def given(config: pytest.Config) -> bool:
    """Whether the command line names one of our options."""
    namespace = config.known_args_namespace
    return any(getattr(namespace, _dest(name), None) is not None for name in _TYPED)


def resolve_settings(config: pytest.Config) -> Settings | None:
    """The settings in force, or None where nobody says anything and the defaults hold.

    Raises:
        pytest.UsageError: A value cannot be used.
    """
    ini = {name: _ini(config, name) for name in _NAMES}
    variables = {name: os.environ.get(f"COMPILECACHE_{name.upper()}") for name in _NAMES}
    typed = {name: getattr(config.known_args_namespace, _dest(name), None) for name in _TYPED}
    raw = (ini, variables, typed)
    if all(value is None for values in raw for value in values.values()):
        return None
    from pytest_compilecache.errors import SettingsError  # noqa: PLC0415
    from pytest_compilecache.settings import Layer, Settings, environment_layer  # noqa: PLC0415

    here = config.invocation_params.dir
    file = config.inipath.name if config.inipath else "ini"
    try:
        return Settings.resolve(
            Layer(file, ini, config.inipath.parent if config.inipath else here),
            environment_layer(os.environ, Path.cwd()),
            Layer("command line", typed, here),
        )
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None


def _ini(config: pytest.Config, name: str) -> object:
    try:
        return config.getini(_ini_name(name))
    except (TypeError, ValueError) as error:  # of pytest's own parsing, which names nothing
        file = config.inipath.name if config.inipath else "ini"
        raise pytest.UsageError(f"{_ini_name(name)} ({file}): {error}") from None


def _ini_name(name: str) -> str:
    if name in _COMPILING:
        return str(_COMPILING[name]["flag"]).removeprefix("--").replace("-", "_")
    return _dest(name)


def _dest(name: str) -> str:
    return f"compilecache_{name}"
