"""``explain``: why a store would have nothing for this machine, field by field."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import click

from pytest_compilecache.cache.restoring import environments_in
from pytest_compilecache.cli.application import WRONG, json_option, output_of
from pytest_compilecache.cli.output import Output, number
from pytest_compilecache.cli.places import choose
from pytest_compilecache.cli.stores import existing, store_option
from pytest_compilecache.environment import Environment, detect_environment, nearest
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.supervising.keeping import UNGUARDED
from pytest_compilecache.variables import users_environ


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
    opened = existing(choose(store).deployment.store)
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
        _print(output, facts, list(map(str, differences)))
    return 0 if packs else WRONG


def _nearest(catalog: Catalog, environment: Environment) -> Environment | None:
    """The nearest environment of which the store still has packs."""
    found = environments_in(catalog)
    return nearest(environment, [each for each in found if Catalog(catalog.store, each.id).packs()])


def _print(output: Output, facts: dict[str, Any], differences: list[str]) -> None:
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
