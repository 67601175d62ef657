"""``report``: one report of those that the shards of a test run left. It needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from pytest_compilecache.cli.application import WRONG
from pytest_compilecache.cli.options import json_option, output_of
from pytest_compilecache.cli.output import say
from pytest_compilecache.errors import ReportError
from pytest_compilecache.report.files import markdown
from pytest_compilecache.report.shards import Shard, lines_of, read_shard, values_of
from pytest_compilecache.report.terminal import Line


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@json_option
def report(files: tuple[Path, ...], **parameters: Any) -> int:
    """Make one report of the FILES that shards left, as Markdown for a job summary.

    Each was written by a session with `--compilecache-report=FILE.json`:

    \b
      compilecache report shard-*.json >> "$GITHUB_STEP_SUMMARY"

    Exit code 1 when one of them is no report; it is named, and the others make one.
    """  # noqa: D301  (\b is click's)
    output = output_of(parameters)
    shards, unread = _read(files)
    values = values_of(shards)
    # What could not be read is not known to be warm.
    facts = {**values, "warm": values["warm"] and not unread, "unread": unread}
    if not output.facts(facts):
        for trouble in unread:
            output.warn(trouble)
        lines = lines_of(shards) if shards else []
        say(markdown([*lines, *(Line(trouble, "bad") for trouble in unread)]), end="")
    return WRONG if unread else 0


def _read(files: Iterable[Path]) -> tuple[list[Shard], list[str]]:
    """The shards, and what is wrong with the others: a job that died may leave anything."""
    shards: list[Shard] = []
    unread: list[str] = []
    for file in files:
        try:
            shards.append(read_shard(file))
        except ReportError as error:
            unread.append(str(error))
    return shards, unread
