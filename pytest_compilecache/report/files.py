"""Writes a session's report to a file: Markdown for a job summary, JSON for a program."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_compilecache.cache import CacheResult
from pytest_compilecache.report.figures import SessionFigures
from pytest_compilecache.report.terminal import Line, Outcome

FORMAT = 1
_MARKS = {"good": "✅", "plain": "▫️", "bad": "⚠️"}


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of.

    Attributes:
        figures: What was compiled.
        outcome: What was done with the store.
        lines: The summary, as a terminal shows it.
    """

    figures: SessionFigures
    outcome: Outcome
    lines: tuple[Line, ...]


def write_report(path: Path, report: Report) -> None:
    """Write a report in the form that the file's suffix names; a folder is made for it.

    The file is whole or not there: a job that is cancelled leaves no half of one.

    Raises:
        OSError: It cannot be written.
    """
    content = _FORMS[path.suffix.lower()](report)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # A name in no encoding is escaped as JSON would: a report is worth no session.
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _markdown(report: Report) -> str:
    return markdown(report.lines)


def markdown(lines: Iterable[Line]) -> str:
    """The lines of a summary as a job summary shows them."""
    return "\n".join(("## Compile cache", "", *_paragraphs(lines), ""))


def _paragraphs(lines: Iterable[Line]) -> Iterable[str]:
    """Lines that begin a matter as paragraphs, those that belong to it as a block of code."""
    block: list[str] = []
    for line in lines:
        if line.text.startswith("  "):
            block.append(line.text)
            continue
        yield from _fenced(block)
        block = []
        yield f"{_MARKS[line.tone]} {_escaped(line.text)}"
        yield ""
    yield from _fenced(block)


def _fenced(block: list[str]) -> Iterable[str]:
    # A reason may quote Markdown: four backticks are not among it.
    return ("````text", *block, "````", "") if block else ()


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_<>[]#|" else char for char in text)


def _json(report: Report) -> str:
    values = report_values(report.figures, report.outcome)
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def report_values(figures: SessionFigures, outcome: Outcome) -> dict[str, Any]:
    """What a report for programs holds."""
    return {
        "format": FORMAT,
        "warm": figures.warm,
        "compiled": figures.compiled,
        "store": outcome.store,
        "restored": _result(outcome.restored),
        "saved": _result(outcome.saved),
        "unsaved": outcome.unsaved,
        "troubles": [asdict(each) for each in outcome.troubles],
        "tests": {name: record.to_mapping() for name, record in figures.tests.items()},
        "outside": figures.outside.to_mapping(),
    }


def _result(result: CacheResult | None) -> dict[str, Any] | None:
    return None if result is None else result.to_mapping()


_FORMS: dict[str, Callable[[Report], str]] = {".md": _markdown, ".json": _json}
