"""What a command prints: facts as JSON, or as tables and lines for a person.

Facts go to standard output, and all that is only for a person to standard error.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Protocol

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_MARKS = {
    "ok": ("✓", "green"),
    "note": ("•", "cyan"),
    "warning": ("!", "yellow"),
    "error": ("✗", "red"),
}


class Meter(Protocol):
    """Shows how far something is."""

    def __call__(self, amount: int) -> None:
        """So many more bytes are done."""


def prepare_streams() -> None:
    """Let nothing that is printed, nor a stream that is closed, end a command."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the process that started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # a mark in Latin-1, a folder in no code


def discard(stream: IO[str]) -> None:
    """Print nothing more to a stream: who read it has enough, or its disk is full."""
    # Below Python's buffer, which would complain when it is flushed at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str, end: str = "\n") -> None:
    """Print a text; the exit code stays the command's when the reader has ended."""
    try:
        click.echo(text + end, nl=False)
    except BrokenPipeError:
        discard(sys.stdout)


class _PatientConsole(Console):
    def on_broken_pipe(self) -> None:
        discard(self.file)  # rich would end the process with 1, which means that something is wrong


class Output:
    """Where a command prints to.

    Args:
        as_json: Whether facts are printed as JSON.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        # A pipe has no width: lines must not be folded there.
        width = None if sys.stdout.isatty() else 10_000
        self._console = _PatientConsole(
            width=width, highlight=False, soft_wrap=not sys.stdout.isatty()
        )
        self._errors = _PatientConsole(stderr=True, highlight=False, soft_wrap=True)

    def facts(self, facts: Mapping[str, Any]) -> bool:
        """Print facts as JSON, if that is asked for.

        Returns:
            Whether it was.
        """
        if self.as_json:
            say(json.dumps(facts, indent=2, default=str))  # in ASCII: good in every locale
        return self.as_json

    def pairs(self, title: str, pairs: Mapping[str, object]) -> None:
        """Print names with values."""
        if title:
            self._console.print(Text(title, style="bold"))
        width = max((len(name) for name in pairs), default=0)
        for name, value in pairs.items():
            line = Text.assemble("  ", (f"{name:<{width}}", "cyan"), "  ", str(value))
            self._console.print(line)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; numbers stand to the right."""
        cells = [[str(cell) for cell in row] for row in rows]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for position, name in enumerate(columns):
            numeric = bool(cells) and all(row[position][:1].isdigit() for row in cells)
            table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table)

    def line(self, text: str, tone: str = "") -> None:
        """Print one line of the result."""
        mark, style = _MARKS.get(tone, ("", ""))
        self._console.print(Text.assemble((f"{mark} " if mark else "", style), text))

    def warn(self, text: str) -> None:
        """Print a warning for a person, beside the result."""
        self._errors.print(Text.assemble(("warning: ", "yellow"), text))

    def error(self, text: str) -> None:
        """Tell a person why the command ends."""
        self._errors.print(Text.assemble(("error: ", "red"), text))

    @contextmanager
    def progress(self, what: str, total: Callable[[], int] | None = None) -> Iterator[Meter]:
        """Show on a terminal how far something is, in bytes, or for how long it has been going on.

        Args:
            what: The thing.
            total: Counts all of its bytes, where that is known; called on a terminal only.
        """
        if not sys.stderr.isatty() or self.as_json:
            yield lambda _: None
            return
        columns: tuple[ProgressColumn, ...] = (SpinnerColumn(), TextColumn(what))
        if total is None:
            columns += (TimeElapsedColumn(),)
        else:
            columns += (BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._errors, transient=True) as progress:
            task = progress.add_task(what, total=total() if total else None)
            yield lambda amount: progress.advance(task, amount)


def megabytes(size: int) -> str:
    """Bytes as a person reads them."""
    return f"{size / 1e6:,.1f} MB"


def number(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
