"""``info``: what is in force here, where it lies and what it takes.

It changes and makes nothing, and never imports torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from pytest_compilecache.cli.options import json_option, output_of, settings_with, store_option
from pytest_compilecache.cli.output import Output, megabytes, number
from pytest_compilecache.cli.project import settings_of_tests
from pytest_compilecache.environment import Environment, detect_environment
from pytest_compilecache.errors import StoreError
from pytest_compilecache.limits import DAY
from pytest_compilecache.patches import users_environ
from pytest_compilecache.server.keeping import UNGUARDED
from pytest_compilecache.server_settings import ServerSettings
from pytest_compilecache.session_settings import Settings
from pytest_compilecache.settings import INDUCTOR, SERVER_SETTINGS, SESSION_SETTINGS
from pytest_compilecache.store import folder_of, open_store
from pytest_compilecache.store.listing import list_readable, packs_in
from pytest_compilecache.workspace.foreign import places_of_child, places_of_neighbour
from pytest_compilecache.workspace.place import Workspace, choose_workspace, default_root
from pytest_compilecache.workspace.scan import scan


@click.command()
@store_option
@json_option
def info(store: str | None, **parameters: Any) -> int:
    """Say what is in force here, and where each setting comes from.

    Settings of tests are those of a session in this folder without options. Looks only.
    """
    output = output_of(parameters)
    environ = users_environ(os.environ)
    environment = detect_environment(environ)
    servers = settings_with(store)
    tests = settings_of_tests(environ, Path.cwd())
    places = _workspaces(environment, environ, tests, servers)
    stored = _survey_store(servers.store)
    facts: dict[str, Any] = {
        "version": version("pytest-compilecache"),
        "python": sys.version.split()[0],
        "environment": {"id": environment.id, "fields": dict(environment.fields)},
        **{f"workspace_of_{who}": asdict(place) for who, place in places.items()},
        "store": {**asdict(stored), "from": servers.origins.get("store", "default")},
        "settings_of_tests": list(_settings_of_tests(tests)),
        "settings_of_servers": list(_settings_of_servers(servers)),
    }
    if not output.facts(facts):
        _print(output, facts)
    return 0


def _settings_of_tests(settings: Settings) -> Iterable[dict[str, str]]:
    for each in SESSION_SETTINGS:
        value = _written(getattr(settings, each.name))
        yield {"name": each.name, "value": value, "origin": _origin(settings, each.name)}


def _settings_of_servers(settings: ServerSettings) -> Iterable[dict[str, str]]:
    limits = settings.limits
    values: dict[str, object] = {
        "store": settings.store,
        "work": settings.work,
        "inductor": settings.inductor or "in the workspace",
        "max_save_mb": limits.pack_bytes >> 20,
        "max_workspace_mb": (limits.workspace_bytes or 0) >> 20,
        "max_store_mb": None if limits.store_bytes is None else limits.store_bytes >> 20,
        "max_concurrent_saves": limits.concurrent_saves,
        "lock_seconds": int(limits.lock_seconds),
        "incomplete_seconds": int(limits.incomplete_seconds),
        "keep_days": int(limits.keep_seconds / DAY),
    }
    for each in SERVER_SETTINGS:
        value = _written(values[each.name])
        yield {"name": each.name, "value": value, "origin": _origin(settings, each.name)}


def _origin(settings: Settings | ServerSettings, name: str) -> str:
    return settings.origins.get(name, "default")


def _written(value: object) -> str:
    """A value as it would be written down."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _print(output: Output, facts: dict[str, Any]) -> None:
    environment = facts["environment"]
    output.pairs(
        "",
        {
            "version": facts["version"],
            "environment": environment["id"],
            "tests work in": _occupied(facts["workspace_of_tests"], "file"),
            "servers work in": _occupied(facts["workspace_of_servers"], "file"),
            "run works in": _occupied(facts["workspace_of_run"], "file"),
            "watch works in": _occupied(facts["workspace_of_watch"], "file"),
            "store": _occupied(facts["store"], "pack") + f" (from {facts['store']['from']})",
        },
    )
    output.pairs("environment", environment["fields"])
    for title, key in (("tests", "settings_of_tests"), ("servers", "settings_of_servers")):
        output.line("")
        rows = [(one["name"], one["value"], one["origin"]) for one in facts[key]]
        output.table((f"setting of {title}", "value", "from"), rows)


def _occupied(place: dict[str, Any], one: str) -> str:
    if not place["exists"]:
        return f"{place['place']} (not there yet)"
    size = f"{number(place['files'], one)}, {megabytes(place['bytes'])}"
    if place["trouble"]:
        text = f"{size}; not all can be read" if place["files"] else "cannot be read"
        return f"{place['place']} ({text}: {place['trouble']})"
    return f"{place['place']} ({size})"


@dataclass(frozen=True, slots=True)
class SurveyedStore:
    """A store, and what it takes.

    Attributes:
        files: The number of its packs.
        bytes: Their size.
        trouble: Why it, or what is missing in these numbers, could not be read; or empty.
    """

    place: str
    exists: bool
    files: int = 0
    bytes: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class SurveyedWorkspace:
    """A workspace, and what it takes.

    Attributes:
        place: What ``TORCHINDUCTOR_CACHE_DIR`` names there.
        files: The number of artifacts in all of its folders.
        bytes: Their size.
        trouble: Why it could not be read, or empty.
        folders: Its folders, by their names in a pack.
    """

    place: str
    exists: bool
    files: int = 0
    bytes: int = 0
    trouble: str = ""
    folders: Mapping[str, str] = field(default_factory=dict)


def _workspaces(
    environment: Environment, environ: Mapping[str, str], tests: Settings, servers: ServerSettings
) -> dict[str, SurveyedWorkspace]:
    """The workspaces by what uses them.

    The environment is that of tests and servers; commands have one of their own.
    """
    named = environ.get(INDUCTOR) or None
    root = servers.work / f"compilecache-{os.getuid()}"
    inductor = servers.inductor
    commands = detect_environment(environ, extra=UNGUARDED).id
    found = {
        "tests": choose_workspace(tests.dir or default_root(), environment.id, named),
        "servers": choose_workspace(root, environment.id, str(inductor) if inductor else None),
        "run": places_of_child(root, commands, environ),
        "watch": places_of_neighbour(root, commands, environ),
    }
    return {who: _survey(workspace) for who, workspace in found.items()}


def _survey_store(place: str) -> SurveyedStore:
    """What a store takes.

    Raises:
        SettingsError: No store can be there.
    """
    if not folder_of(place).is_dir():
        return SurveyedStore(place, exists=False)
    try:
        readable = list_readable(open_store(place))
    except StoreError as error:
        return SurveyedStore(place, exists=True, trouble=str(error))
    sizes = [each.size for each, _ in packs_in(readable.objects)]
    trouble = "; ".join(readable.troubles)
    return SurveyedStore(place, exists=True, files=len(sizes), bytes=sum(sizes), trouble=trouble)


def _survey(workspace: Workspace) -> SurveyedWorkspace:
    folders = {name: str(folder) for name, folder in workspace.areas()}
    place = str(workspace.inductor)
    # As one user of a machine may not look into another's.
    exists = any(os.path.isdir(folder) for folder in folders.values())  # noqa: PTH112
    try:
        files = scan(workspace).values()
    except OSError as error:
        return SurveyedWorkspace(place, exists, trouble=str(error), folders=folders)
    size = sum(file.size for file in files)
    return SurveyedWorkspace(place, exists, len(files), size, folders=folders)
