"""``info``: what is in force here. It changes nothing and never imports torch."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from pytest_compilecache.cli.application import json_option, output_of
from pytest_compilecache.cli.output import Output, megabytes, number
from pytest_compilecache.cli.places import Chosen, choose
from pytest_compilecache.cli.stores import store_option
from pytest_compilecache.deployment import INCOMPLETE, INDUCTOR, LOCK, SAVES, SIZE, STORE, WORK
from pytest_compilecache.environment import Environment, detect_environment
from pytest_compilecache.errors import StoreError
from pytest_compilecache.settings import Settings, environment_layer, setting_names
from pytest_compilecache.store import folder_of, open_store
from pytest_compilecache.store.prune import object_of
from pytest_compilecache.variables import users_environ
from pytest_compilecache.workspace.place import Workspace, choose_workspace, default_root
from pytest_compilecache.workspace.scan import scan


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting in force.

    Attributes:
        name: Its name or variable.
        value: What it says.
        origin: Who says so.
    """

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace or a store, and what it takes.

    Attributes:
        place: Where it is.
        exists: Whether it is there.
        files: Artifacts in a workspace, packs in a store.
        bytes: Their bytes.
        trouble: Why it could not be read, or empty.
    """

    place: str
    exists: bool
    files: int = 0
    bytes: int = 0
    trouble: str = ""


@click.command()
@store_option
@json_option
def info(store: str | None, **parameters: Any) -> int:
    """Say what is in force here, and where each setting comes from."""
    output = output_of(parameters)
    environ = users_environ(os.environ)
    environment = detect_environment(environ)
    chosen = choose(store)
    plugin = Settings.resolve(environment_layer(environ, Path.cwd()))
    tests = choose_workspace(
        plugin.dir or default_root(), environment.id, environ.get(INDUCTOR) or None
    )
    server = _server_workspace(chosen, environment)
    facts = {
        "version": version("pytest-compilecache"),
        "python": sys.version.split()[0],
        "environment": {"id": environment.id, "fields": dict(environment.fields)},
        "workspace_of_tests": asdict(_survey(tests)),
        "workspace_of_servers": asdict(_survey(server)),
        "store": {**asdict(_survey_store(chosen.deployment.store)), "from": chosen.store_from},
        "settings_of_tests": [asdict(each) for each in _plugin_settings(plugin)],
        "settings_of_servers": [asdict(each) for each in _server_settings(chosen)],
    }
    if not output.facts(facts):
        _print(output, facts)
    return 0


def _server_workspace(chosen: Chosen, environment: Environment) -> Workspace:
    root = chosen.deployment.work / f"compilecache-{os.getuid()}"
    named = chosen.deployment.inductor
    return choose_workspace(root, environment.id, str(named) if named else None)


def _survey(workspace: Workspace) -> Place:
    if not workspace.inductor.is_dir():
        return Place(str(workspace.inductor), exists=False)
    try:
        files = scan(workspace).values()
    except OSError as error:
        return Place(str(workspace.inductor), exists=True, trouble=str(error))
    return Place(
        str(workspace.inductor), exists=True, files=len(files), bytes=sum(f.size for f in files)
    )


def _survey_store(place: str) -> Place:
    if not folder_of(place).is_dir():
        return Place(place, exists=False)
    try:
        listing = open_store(place).list("")
    except StoreError as error:
        return Place(place, exists=True, trouble=str(error))
    packs = [each for each in listing if (found := object_of(each.key)) and found.pack]
    return Place(place, exists=True, files=len(packs), bytes=sum(each.size for each in packs))


def _plugin_settings(settings: Settings) -> list[Setting]:
    return [
        Setting(name, str(getattr(settings, name)), settings.origins.get(name, "default"))
        for name in setting_names()
    ]


def _server_settings(chosen: Chosen) -> list[Setting]:
    environ, deployment = users_environ(os.environ), chosen.deployment

    def origin(name: str) -> str:
        return "environment variable" if environ.get(name, "").strip() else "default"

    limits = deployment.limits
    numbers = (
        (SIZE.name, limits.pack_bytes >> 20),
        (SAVES.name, limits.concurrent_saves),
        (LOCK.name, int(limits.lock_seconds)),
        (INCOMPLETE.name, int(limits.incomplete_seconds)),
    )
    return [
        Setting(STORE, deployment.store, chosen.store_from),
        Setting(WORK, str(deployment.work), origin(WORK)),
        Setting(INDUCTOR, str(deployment.inductor or "in the workspace"), origin(INDUCTOR)),
        *(Setting(name, str(value), origin(name)) for name, value in numbers),
    ]


def _print(output: Output, facts: dict[str, Any]) -> None:
    environment = facts["environment"]
    output.pairs(
        "",
        {
            "version": facts["version"],
            "environment": environment["id"],
            "tests work in": _told(facts["workspace_of_tests"], "file"),
            "servers work in": _told(facts["workspace_of_servers"], "file"),
            "store": _told(facts["store"], "pack") + f" (from {facts['store']['from']})",
        },
    )
    output.pairs("environment", environment["fields"])
    for title, key in (("tests", "settings_of_tests"), ("servers", "settings_of_servers")):
        output.line("")
        rows = [(one["name"], one["value"], one["origin"]) for one in facts[key]]
        output.table((f"setting of {title}", "value", "from"), rows)


def _told(place: dict[str, Any], one: str) -> str:
    if not place["exists"]:
        return f"{place['place']} (not there yet)"
    if place["trouble"]:
        return f"{place['place']} (cannot be read: {place['trouble']})"
    return f"{place['place']} ({number(place['files'], one)}, {megabytes(place['bytes'])})"
