"""``report``: one report of those that the shards of a test run left. It needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pytest_compilecache.cli.application import json_option, output_of
from pytest_compilecache.cli.output import say
from pytest_compilecache.report.files import markdown
from pytest_compilecache.report.shards import lines_of, read_shard, values_of


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
    """  # noqa: D301  (\b is click's)
    shards = [read_shard(file) for file in files]
    if not output_of(parameters).facts(values_of(shards)):
        say(markdown(lines_of(shards)), end="")
    return 0
