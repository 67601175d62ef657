"""``key``: the keys under which a CI system keeps a store's folder.

Such a system never changes what it kept under a key; it gives the newest entry
whose key begins with a restore key. So the key ends with what the store holds:
a session that compiled nothing makes no new entry.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import click

from pytest_compilecache.cli.application import json_option, output_of
from pytest_compilecache.cli.places import choose
from pytest_compilecache.cli.stores import store_option
from pytest_compilecache.environment import detect_environment
from pytest_compilecache.store import folder_of, open_store
from pytest_compilecache.store.listing import list_readable, object_of
from pytest_compilecache.variables import users_environ

_DIGITS = 16
_EMPTY = "empty"
_MERGED = "all"  # in the place of an environment, whose names begin otherwise
# GitHub refuses a comma, and more than 512 characters in all; a line's end would be an output
# of its own, and what is empty would be found by the keys of others.
_PREFIX = re.compile(r"[A-Za-z0-9._/+=@:-]{1,200}")


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
    place = choose(store).deployment.store
    environment = None if merged else detect_environment(users_environ(os.environ)).id
    # What was merged comes first: it holds all environments, and a merge may run on another
    # processor each time. Another environment's entry is better than nothing.
    named = [f"{prefix}-{name}-" for name in (_MERGED, environment) if name]
    restore_keys = [*named, f"{prefix}-"]
    content, troubles = _content(place)
    full = f"{named[-1]}{content}"
    if github_output:
        _append(full, restore_keys)
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


def _content(place: str) -> tuple[str, list[str]]:
    """What a store holds, as digits, and what of it could not be listed."""
    if not folder_of(place).is_dir():
        return _EMPTY, []
    readable = list_readable(open_store(place))
    found = [each.key for each in readable.objects if object_of(each.key)]
    found.extend(readable.unlisted)  # once it can be listed, the store holds something else
    digest = hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()[:_DIGITS]
    return digest if found else _EMPTY, readable.troubles


def _append(full: str, restore_keys: list[str]) -> None:
    place = os.environ.get("GITHUB_OUTPUT")
    if not place:
        raise click.UsageError("--github-output needs the variable GITHUB_OUTPUT, and it is empty")
    lines = (f"key={full}", "restore-keys<<COMPILECACHE", *restore_keys, "COMPILECACHE", "")
    with Path(place).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines))
