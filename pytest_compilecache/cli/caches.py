"""``load`` and ``save``: the two calls of a server, for a person or a script."""

from __future__ import annotations

from typing import Any

import click

from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.cli.application import WRONG, json_option, output_of
from pytest_compilecache.cli.output import Output, megabytes, number
from pytest_compilecache.cli.places import Chosen, choose
from pytest_compilecache.cli.stores import store_option
from pytest_compilecache.serving import ServerProcess

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
    chosen, output = choose(store), output_of(parameters)
    with output.progress("loading"):
        result = ServerProcess().load(chosen.deployment)
    return _tell(output, chosen, result, "loaded", "load")


@click.command()
@store_option
@json_option
def save(store: str | None, **parameters: Any) -> int:
    """Add to the store what was compiled in this machine's workspace and is new."""
    chosen, output = choose(store), output_of(parameters)
    with output.progress("saving"):
        result = ServerProcess().save(chosen.deployment)
    return _tell(output, chosen, result, "saved", "save")


def _tell(output: Output, chosen: Chosen, result: CacheResult, verb: str, infinitive: str) -> int:
    facts = {"store": chosen.deployment.store, "store_from": chosen.store_from}
    if not output.facts({**facts, **result.to_mapping(), "warnings": list(chosen.warnings)}):
        for warning in (*chosen.warnings, *dict.fromkeys(map(str, result.troubles))):
            output.warn(warning)
        text = _SAID[result.status].format(
            verb=verb,
            infinitive=infinitive,
            files=number(result.files, "file"),
            size=megabytes(result.bytes),
            seconds=result.seconds,
        )
        wrong = result.status is OperationStatus.ERROR
        output.line(f"{chosen.deployment.store}: {text}", "error" if wrong else "ok")
        if result.explanation:
            output.line(f"the nearest environment differs: {result.explanation}", "note")
    return WRONG if result.status is OperationStatus.ERROR else 0
