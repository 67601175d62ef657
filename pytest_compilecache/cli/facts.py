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
from pytest_compilecache.cli.project import settings_of_tests
from pytest_compilecache.cli.stores import store_option
from pytest_compilecache.cli.surveying import survey_store, workspaces
from pytest_compilecache.deployment import (
    INCOMPLETE,
    INDUCTOR,
    LOCK,
    SAVES,
    SIZE,
    STORE,
    WORK,
    WORKSPACE,
)
from pytest_compilecache.environment import detect_environment
from pytest_compilecache.settings import Settings, setting_names
from pytest_compilecache.variables import users_environ


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
    chosen = choose(store)
    tests = settings_of_tests(environ, Path.cwd())
    places = workspaces(environment, environ, tests, chosen)
    stored = survey_store(chosen.deployment.store)
    facts: dict[str, Any] = {
        "version": version("pytest-compilecache"),
        "python": sys.version.split()[0],
        "environment": {"id": environment.id, "fields": dict(environment.fields)},
        **{f"workspace_of_{who}": asdict(place) for who, place in places.items()},
        "store": {**asdict(stored), "from": chosen.store_from},
        "settings_of_tests": [asdict(each) for each in _plugin_settings(tests)],
        "settings_of_servers": [asdict(each) for each in _server_settings(chosen)],
    }
    if not output.facts(facts):
        _print(output, facts)
    return 0


def _plugin_settings(settings: Settings) -> list[Setting]:
    return [
        Setting(name, _written(getattr(settings, name)), settings.origins.get(name, "default"))
        for name in setting_names()
    ]


def _written(value: object) -> str:
    """A value as it would be written down."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _server_settings(chosen: Chosen) -> list[Setting]:
    environ, deployment = users_environ(os.environ), chosen.deployment

    def origin(name: str) -> str:
        return "environment variable" if environ.get(name, "").strip() else "default"

    limits = deployment.limits
    numbers = (
        (SIZE.name, limits.pack_bytes >> 20),
        (WORKSPACE.name, (limits.workspace_bytes or 0) >> 20),
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
            "run works in": _told(facts["workspace_of_run"], "file"),
            "watch works in": _told(facts["workspace_of_watch"], "file"),
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
    size = f"{number(place['files'], one)}, {megabytes(place['bytes'])}"
    if place["trouble"]:
        told = f"{size}; not all can be read" if place["files"] else "cannot be read"
        return f"{place['place']} ({told}: {place['trouble']})"
    return f"{place['place']} ({size})"
