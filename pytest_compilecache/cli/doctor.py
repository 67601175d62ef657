"""``doctor``: what would slow down, break or endanger the cache here, with remedies."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pytest_compilecache.cli.application import WRONG
from pytest_compilecache.cli.options import json_option, output_of, settings_with, store_option
from pytest_compilecache.cli.project import settings_of_tests
from pytest_compilecache.doctor.machine import Machine, diagnose
from pytest_compilecache.doctor.software import check_vector_instructions
from pytest_compilecache.environment import detect_environment
from pytest_compilecache.patches import users_environ
from pytest_compilecache.settings import INDUCTOR
from pytest_compilecache.workspace.place import default_root


@click.command()
@store_option
@json_option
def doctor(store: str | None, **parameters: Any) -> int:
    """Look for what would slow down, break or endanger the cache.

    Exit code 1 when something is broken; a risk alone is none.
    """
    output = output_of(parameters)
    machine = _machine(store)
    with output.progress("examining"):
        found = [*diagnose(machine), *check_vector_instructions()]
    broken = any(each.level == "error" for each in found)
    if not output.facts({"ok": not broken, "findings": [asdict(each) for each in found]}):
        for each in found:
            remedy = f" ({each.remedy})" if each.remedy else ""
            output.line(f"{each.subject}: {each.finding}{remedy}", each.level)
    return WRONG if broken else 0


def _machine(store: str | None) -> Machine:
    environ = users_environ(os.environ)
    servers = settings_with(store)
    tests = settings_of_tests(environ, Path.cwd())
    folders = {
        "workspaces of tests": tests.dir or default_root(),
        "workspaces of servers": servers.work / f"compilecache-{os.getuid()}",
        "temp directory": _temporary_folder(),
    }
    if environ.get(INDUCTOR):
        folders[INDUCTOR] = Path(environ[INDUCTOR])
    return Machine(detect_environment(environ), environ, folders, servers.store)


def _temporary_folder() -> Path:
    """Where temporary files go: not to a folder that TMPDIR names and that is not there."""
    named = os.environ.get("TMPDIR", "")
    try:
        return Path(named) if os.path.isdir(named) else Path(tempfile.gettempdir())  # noqa: PTH112
    except FileNotFoundError:  # there is none that could be written to
        return Path(named or "/tmp")  # noqa: S108
