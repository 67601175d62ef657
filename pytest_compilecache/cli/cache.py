"""A store against this machine: ``load``, ``save``, ``explain`` and ``key``.

A CI system never changes what it kept under a key; it gives the newest entry whose key begins
with a restore key. So the key that ``key`` prints ends with what the store holds: a session
that compiled nothing makes no new entry.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pytest_compilecache.api import ServerProcess
from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.cache.restoring import environments_in
from pytest_compilecache.cli.application import WRONG
from pytest_compilecache.cli.options import json_option, output_of, settings_with, store_option
from pytest_compilecache.cli.output import Output, megabytes, number
from pytest_compilecache.cli.stores import existing
from pytest_compilecache.environment import Environment, detect_environment, nearest
from pytest_compilecache.patches import users_environ
from pytest_compilecache.server.keeping import UNGUARDED
from pytest_compilecache.server_settings import ServerSettings
from pytest_compilecache.store import folder_of, open_store
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.listing import list_readable, object_of

_DIGITS = 16
_EMPTY = "empty"
_MERGED = "all"  # in the place of an environment, whose names begin otherwise
# GitHub refuses a comma, and more than 512 characters in all; a line's end would be an output
# of its own, and what is empty would be found by the keys of others.
_PREFIX = re.compile(r"[A-Za-z0-9._/+=@:-]{1,200}")
_SAID = {
    OperationStatus.SUCCESS: "{verb} {files}, {size}, in {seconds:.1f} s",
    OperationStatus.SKIPPED: "nothing new to {infinitive}",
    OperationStatus.DOES_NOT_EXIST: "the store holds nothing of this environment",
    OperationStatus.ERROR: "could not {infinitive} all",
}


@click.command()
@store_option
@json_option
def load(store: str | None, **parameters: Any) -> int:
    """Bring to this machine's workspace what the store has for this environment.

    Nothing to bring is no error. A server that should use it calls load_compile_cache()
    with the same variables, or is started by `compilecache run`.
    """
    settings, output = settings_with(store), output_of(parameters)
    with output.progress("loading"):
        result = ServerProcess().load(settings)
    return _print_result(output, settings, result, "loaded", "load")


@click.command()
@store_option
@json_option
def save(store: str | None, **parameters: Any) -> int:
    """Add to the store what was compiled in this machine's workspace and is new."""
    settings, output = settings_with(store), output_of(parameters)
    with output.progress("saving"):
        result = ServerProcess().save(settings)
    return _print_result(output, settings, result, "saved", "save")


def _print_result(
    output: Output, settings: ServerSettings, result: CacheResult, verb: str, infinitive: str
) -> int:
    facts = {"store": settings.store, "store_from": settings.origins.get("store", "default")}
    warnings = [str(each) for each in settings.clamped]
    if not output.facts({**facts, **result.to_mapping(), "warnings": warnings}):
        for warning in (*warnings, *dict.fromkeys(map(str, result.troubles))):
            output.warn(warning)
        text = _SAID[result.status].format(
            verb=verb,
            infinitive=infinitive,
            files=number(result.files, "file"),
            size=megabytes(result.bytes),
            seconds=result.seconds,
        )
        wrong = result.status is OperationStatus.ERROR
        output.line(f"{settings.store}: {text}", "error" if wrong else "ok")
        if result.explanation:
            output.line(f"the nearest environment differs: {result.explanation}", "note")
    return WRONG if result.status is OperationStatus.ERROR else 0


@click.command()
@store_option
@click.option("--command", is_flag=True, help="Ask for commands under run and beside watch.")
@json_option
def explain(store: str | None, *, command: bool, **parameters: Any) -> int:
    """Say whether a store has something for this environment, and if not, why.

    The nearest environment that the store has is compared field by field. Exit code 1 when
    there is nothing to load here.
    """
    output = output_of(parameters)
    environ = users_environ(os.environ)
    environment = detect_environment(environ, extra=UNGUARDED if command else None)
    opened = existing(settings_with(store).store)
    catalog = Catalog(opened, environment.id)
    packs = len(catalog.packs())
    closest = None if packs else _nearest(catalog, environment)
    differences = environment.differences(closest) if closest is not None else ()
    facts = {
        "store": opened.url,
        "environment": environment.id,
        "packs": packs,
        "nearest": closest.id if closest is not None else None,
        "differences": [asdict(each) for each in differences],
    }
    if not output.facts(facts):
        _print_explanation(output, facts, list(map(str, differences)))
    return 0 if packs else WRONG


def _nearest(catalog: Catalog, environment: Environment) -> Environment | None:
    """The nearest environment of which the store still has packs."""
    found = environments_in(catalog)
    return nearest(environment, [each for each in found if Catalog(catalog.store, each.id).packs()])


def _print_explanation(output: Output, facts: dict[str, Any], differences: list[str]) -> None:
    if facts["packs"]:
        packs = number(facts["packs"], "pack")
        output.line(f"{facts['store']} holds {packs} of {facts['environment']}", "ok")
        return
    output.line(f"{facts['store']} holds nothing of {facts['environment']}", "error")
    if facts["nearest"] is None:
        output.line("nor of any other environment that it describes", "note")
        return
    output.line(f"the nearest is {facts['nearest']}; there differ:", "note")
    for each in differences:
        output.line(f"  {each}")


def _prefix(word: str) -> str:
    if not _PREFIX.fullmatch(word):
        raise click.BadParameter(
            f"{word!r:.80} is not made of 1 to 200 letters, digits and ._/+=@:-"
        )
    return word


@click.command()
@store_option
@click.option(
    "--prefix",
    type=_prefix,
    default="compilecache",
    show_default=True,
    metavar="WORD",
    help="How the keys begin.",
)
@click.option(
    "--merged", is_flag=True, help="The store unites those of all jobs: name no environment."
)
@click.option(
    "--github-output", is_flag=True, help="Append key and restore-keys to $GITHUB_OUTPUT."
)
@json_option
def key(
    store: str | None, prefix: str, *, merged: bool, github_output: bool, **parameters: Any
) -> int:
    """Print the key to keep a store under, and the keys to restore one by.

    The restore keys name the newest that was merged, then this environment. The key ends
    with what the store holds, so ask for it after the tests: it has changed if something
    was saved.
    """
    output = output_of(parameters)
    place = settings_with(store).store
    environment = None if merged else detect_environment(users_environ(os.environ)).id
    # What was merged comes first: it holds all environments, and a merge may run on another
    # processor each time. Another environment's entry is better than nothing.
    named = [f"{prefix}-{name}-" for name in (_MERGED, environment) if name]
    restore_keys = [*named, f"{prefix}-"]
    content, troubles = _digest_of(place)
    full = f"{named[-1]}{content}"
    if github_output:
        _append_to_github_output(full, restore_keys)
    facts = {
        "key": full,
        "restore_keys": restore_keys,
        "environment": environment,
        "troubles": troubles,
    }
    if not output.facts(facts):
        for trouble in troubles:
            output.warn(trouble)
        output.pairs("", {"key": full, "restore keys": " ".join(restore_keys)})
    return 0


def _digest_of(place: str) -> tuple[str, list[str]]:
    """What a store holds, as digits, and what of it could not be listed."""
    if not folder_of(place).is_dir():
        return _EMPTY, []
    readable = list_readable(open_store(place))
    found = [each.key for each in readable.objects if object_of(each.key)]
    found.extend(readable.unlisted)  # once it can be listed, the store holds something else
    digest = hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:_DIGITS]
    return digest if found else _EMPTY, readable.troubles


def _append_to_github_output(full: str, restore_keys: list[str]) -> None:
    place = os.environ.get("GITHUB_OUTPUT")
    if not place:
        raise click.UsageError("--github-output needs the variable GITHUB_OUTPUT, and it is empty")
    lines = (f"key={full}", "restore-keys<<COMPILECACHE", *restore_keys, "COMPILECACHE", "")
    with Path(place).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines))
