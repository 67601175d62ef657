"""The page of the settings: what the plugin registers, and what a deployment's variables do."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from blocks import attributes, bullets, code, page, table

from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.deployment import INDUCTOR, NUMBERS, STORE, WORK, Places
from pytest_compilecache.errors import SettingsError
from pytest_compilecache.plugin.options import add_options
from pytest_compilecache.settings import ENVIRONMENT_PREFIX, Layer, Settings, setting_names

_INTRODUCTION = """
Settings of test sessions come from the command line, else from variables, else from the ini file
(`pytest.ini`, or `[tool.pytest.ini_options]` in `pyproject.toml`), else the default holds. An
empty value takes back what an earlier place says. Relative paths start at the folder of the ini
file, at the current folder in variables, and at the folder of the call on the command line. A
value that cannot be used ends the session before the first test, with its name and its place.

`-p no:compilecache` turns the plugin off altogether. `compilecache info` shows what is in force,
and where it comes from.
"""
_COMPILING = """
How marked tests compile by default is a table of its own, `[tool.compilecache.compile]` in
`pyproject.toml`. What a mark says comes before it. What each option does stands in
[Compile as your server does](compile_options.md).
"""
_DEPLOYMENT = """
`load_compile_cache()`, `save_compile_cache()` and the command read these. The plugin never does, so
that a variable meant for a server does not change a test session. A number out of its range is
clamped, with a warning that names both; what is no number is a `SettingsError`. A variable that is
empty is not set. A default above a cap that was lowered is the cap.
"""
_PLACES = {
    STORE: "The store: a folder, or its `file://` URL.",
    INDUCTOR: "The folder of Inductor's cache.",
    WORK: "The folder that the workspace is made in, as `compilecache-<user id>`.",
}


class Registered:
    """Stands where pytest's parser does, and keeps what is registered."""

    def __init__(self) -> None:
        self.flags: dict[str, str] = {}
        self.ini: list[str] = []

    def getgroup(self, *_: str) -> Registered:
        """Give the group of options: there is one."""
        return self

    def addoption(self, flag: str, *, dest: str, metavar: str = "", **_: Any) -> None:
        """Keep an option."""
        self.flags[dest.removeprefix("compilecache_")] = f"{flag} {metavar}".strip()

    def addini(self, name: str, *_: str, **__: Any) -> None:
        """Keep an ini value."""
        self.ini.append(name)

    def ini_of(self, setting: str) -> str:
        """The ini value of a setting."""
        flag = self.flags.get(setting, "").split(" ")[0]
        names = {f"compilecache_{setting}", flag.removeprefix("--").replace("-", "_")}
        return next(name for name in self.ini if name in names)


def settings_page() -> str:
    """The page."""
    registered = Registered()
    add_options(registered)  # type: ignore[arg-type]  (it has what is called)
    sections = [_setting(name, registered) for name in setting_names()]
    return page(
        "Settings",
        _INTRODUCTION,
        "## Test sessions",
        *sections,
        "## How tests compile",
        _COMPILING,
        table(("option", "default"), _compile_options()),
        "## Servers and the command",
        _DEPLOYMENT,
        *_places(),
        *_numbers(),
    )


def _setting(name: str, registered: Registered) -> str:
    flag = registered.flags.get(name)
    variable = ENVIRONMENT_PREFIX + name.upper()
    facts = (
        ("option", code(flag) if flag else ""),
        ("ini file", code(registered.ini_of(name))),
        ("variable", code(variable)),
        ("values", _values(name)),
        ("default", _default(getattr(Settings(), name))),
    )
    return f"### {name}\n\n{attributes(Settings)[name]}\n\n{bullets(facts)}"


def _values(name: str) -> str:
    """What a setting says when it is given nonsense; an answer that is true by construction."""
    try:
        Settings.resolve(Layer("a test", {name: "nonsense"}, Path("/")))
    except SettingsError as error:
        return error.remedy.removeprefix("use ").replace("let it end", "a path that ends")
    return "a folder, or its `file://` URL" if name == "store" else "a path"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "no"
    return "none" if value is None else code(value)


def _compile_options() -> list[tuple[str, str]]:
    return [(code(each.name), code(repr(each.default))) for each in fields(CompileOptions)]


def _places() -> list[str]:
    places = Places(temporary=Path("/tmp"))  # noqa: S108  (a word on a page)
    sections = []
    for name, default in places.defaults().items():
        facts = [("default", re.sub(r"(?<!\S)/\S+", r"`\g<0>`", default))]
        if name != STORE:
            prefixes = places.inductor if name == INDUCTOR else places.work
            below = ", ".join(code(prefix) for prefix in prefixes)
            facts.append(
                ("values", f"a folder below {below} or the temp directory, or a private one")
            )
        sections.append(f"### {name}\n\n{_PLACES[name]}\n\n{bullets(facts)}")
    return sections


def _numbers() -> list[str]:
    sections = []
    for each in NUMBERS:
        facts = (
            ("default", code(each.default)),
            ("values", f"a whole number from 1 to {code(each.cap)}"),
            (code(each.cap), f"{code(each.cap_default)} by default; it can be lowered or raised"),
        )
        sections.append(f"### {each.name}\n\n{each.means}\n\n{bullets(facts)}")
    return sections
