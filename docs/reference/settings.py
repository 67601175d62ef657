"""The page of the settings: the table of the code, and how tests compile by default."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from blocks import bullets, code, page, table

from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.server_settings import Places
from pytest_compilecache.settings import SETTINGS, Setting

_INTRODUCTION = """
Each setting stands here once. Which of them hold where:

- **Test sessions** take a setting from the command line, else from its variable, else from
  pytest's configuration file (`pytest.ini`, or `[tool.pytest.ini_options]` in `pyproject.toml`),
  else the default holds. An empty value takes back what an earlier place says. Relative paths
  start at the folder of the configuration file, at the current folder in variables, and at the
  folder of the call on the command line. A value that cannot be used ends the session before the
  first test, with its name and its place.
- **Servers** are `load_compile_cache()`, `save_compile_cache()` and the command. They take a
  setting from its variable, else from its alias, else the default holds. A variable that is empty
  is not set. A number out of its range is clamped, with a warning that names both numbers; text
  that is no number is a `SettingsError`. A default above a cap that was lowered is the cap.

A test session never reads an alias: a variable that is meant for a server, or for another tool,
changes no test. `-p no:compilecache` turns the plugin off altogether. `compilecache info` shows
what is in force, and where each value comes from.
"""
_COMPILING = """
How marked tests compile by default is a table of its own, `[tool.compilecache.compile]` in
`pyproject.toml`. What a mark says comes before it. What each option does stands in
[Compile as your server does](compile_options.md).
"""
_GROUPS = (
    ("Test sessions and servers", True, True),
    ("Test sessions", True, False),
    ("Servers and the command", False, True),
)
_NAME = re.compile(r"(?<![`\w/])(--[a-z-]+|[A-Z][A-Z0-9]*_[A-Z0-9_]+|/(?:\w+/)*\w+|file://)(?!`)")


def settings_page() -> str:
    """The page."""
    places = Places(temporary=Path("/tmp"))  # noqa: S108  (a word on a page)
    blocks = []
    for title, sessions, servers in _GROUPS:
        found = [each for each in SETTINGS if (each.sessions, each.servers) == (sessions, servers)]
        blocks += [f"## {title}", *(_setting(each, places) for each in found)]
    return page(
        "Settings",
        _INTRODUCTION,
        *blocks,
        "## How tests compile",
        _COMPILING,
        table(("option", "default"), _compile_options()),
    )


def _setting(setting: Setting, places: Places) -> str:
    flag = f"{setting.flag} {setting.metavar}".strip() if setting.option else ""
    facts = (
        ("option", code(flag) if flag else ""),
        ("configuration file", code(setting.ini) if setting.sessions else ""),
        ("variable", code(setting.variable)),
        ("alias", code(setting.alias) if setting.alias else ""),
        ("values", _values(setting, places)),
        ("default", _default(setting, places)),
        ("cap", _cap(setting)),
    )
    return f"### {setting.name}\n\n{_names_as_code(setting.help)}\n\n{bullets(facts)}"


def _values(setting: Setting, places: Places) -> str:
    if setting.name in {"work", "inductor"}:
        prefixes = places.inductor if setting.name == "inductor" else places.work
        below = ", ".join(code(prefix) for prefix in prefixes)
        return f"a folder below {below} or the temp directory, or a private one"
    if setting.cap is not None and not setting.sessions:
        return "a whole number from 1 to the cap"
    return setting.kind.values


def _default(setting: Setting, places: Places) -> str:
    stated = setting.default
    text = "none" if stated is None else code("false" if stated is False else stated)
    there = _names_as_code(places.defaults().get(setting.name, ""))
    if not there:
        return text
    return f"{text} in test sessions; for servers {there}" if setting.sessions else there


def _cap(setting: Setting) -> str:
    if setting.cap is None:
        return ""
    moved = f"{code(setting.cap_variable)}, alias {code(setting.cap.alias)}"
    sessions = "; test sessions have no cap" if setting.sessions else ""
    return f"{code(setting.cap.default)}, moved by {moved}{sessions}"


def _names_as_code(text: str) -> str:
    return _NAME.sub(r"`\1`", text)


def _compile_options() -> Iterable[tuple[str, str]]:
    return [(code(each.name), code(repr(each.default))) for each in fields(CompileOptions)]
