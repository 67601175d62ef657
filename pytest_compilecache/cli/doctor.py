"""``doctor``: what would slow down, break or endanger the cache here, with remedies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pytest_compilecache import findings
from pytest_compilecache.cli.application import WRONG, json_option, output_of
from pytest_compilecache.cli.places import choose
from pytest_compilecache.cli.project import settings_of_tests
from pytest_compilecache.cli.stores import store_option
from pytest_compilecache.deployment import INDUCTOR
from pytest_compilecache.diagnosis import Patient, diagnose
from pytest_compilecache.environment import detect_environment
from pytest_compilecache.findings import Diagnosis, fine
from pytest_compilecache.variables import users_environ
from pytest_compilecache.workspace.place import default_root

_TORCH_SECONDS = 120.0
_INSTRUCTIONS = "vector instructions"


@click.command()
@store_option
@json_option
def doctor(store: str | None, **parameters: Any) -> int:
    """Look for what would slow down, break or endanger the cache.

    Exit code 1 when something is broken; a risk alone is none.
    """
    output = output_of(parameters)
    patient = _patient(store)
    with output.progress("examining"):
        found = [*diagnose(patient), *_vector_instructions()]
    broken = any(each.level == "error" for each in found)
    if not output.facts({"ok": not broken, "findings": [asdict(each) for each in found]}):
        for each in found:
            remedy = f" ({each.remedy})" if each.remedy else ""
            output.line(f"{each.subject}: {each.finding}{remedy}", each.level)
    return WRONG if broken else 0


def _patient(store: str | None) -> Patient:
    environ = users_environ(os.environ)
    chosen = choose(store)
    settings = settings_of_tests(environ, Path.cwd())
    folders = {
        "workspaces of tests": settings.dir or default_root(),
        "workspaces of servers": chosen.deployment.work / f"compilecache-{os.getuid()}",
        "temp directory": _temporary_folder(),
    }
    if environ.get(INDUCTOR):
        folders[INDUCTOR] = Path(environ[INDUCTOR])
    return Patient(detect_environment(environ), environ, folders, chosen.deployment.store)


def _temporary_folder() -> Path:
    """Where temporary files go: not to a folder that TMPDIR names and that is not there."""
    named = os.environ.get("TMPDIR", "")
    try:
        return Path(named) if os.path.isdir(named) else Path(tempfile.gettempdir())  # noqa: PTH112
    except FileNotFoundError:  # there is none that could be written to
        return Path(named or "/tmp")  # noqa: S108


def _vector_instructions() -> list[Diagnosis]:
    """What torch picks, asked in another process: it compiles and loads probes for it."""
    command = [sys.executable, "-m", "pytest_compilecache.compiling.asking"]
    try:
        done = subprocess.run(  # noqa: S603  (this interpreter, a module of ours)
            command, capture_output=True, text=True, timeout=_TORCH_SECONDS, check=True
        )
        probe = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        return [findings.TORCH_DUMB.about(_INSTRUCTIONS, reason=last)]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return [findings.TORCH_DUMB.about(_INSTRUCTIONS, reason=error)]
    if probe is None:
        return [findings.TORCH_SILENT.about(_INSTRUCTIONS)]
    if probe["failed"]:
        lost = ", ".join(probe["failed"])
        facts = {"picked": probe["picked"], "lost": lost}
        return [findings.LOST_INSTRUCTIONS.about(_INSTRUCTIONS, **facts)]
    return [fine(_INSTRUCTIONS, f"torch picks {probe['picked']}")]
