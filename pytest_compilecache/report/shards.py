"""Makes one report of those that the shards of a test run left. It believes nothing of a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble
from pytest_compilecache.compiling.events import CompileRecord
from pytest_compilecache.errors import ReportError
from pytest_compilecache.report.figures import SessionFigures
from pytest_compilecache.report.files import FORMAT, report_values
from pytest_compilecache.report.terminal import Line, Outcome, summary

_MAX_BYTES = 256 << 20
_REMEDY = "give what --compilecache-report=FILE.json wrote"
# Of the shards' results the one that most needs a look stands for all.
_BY_NEED = (
    OperationStatus.ERROR,
    OperationStatus.SUCCESS,
    OperationStatus.SKIPPED,
    OperationStatus.DOES_NOT_EXIST,
)


@dataclass(frozen=True, slots=True)
class Shard:
    """The report of one shard.

    Attributes:
        name: The file that it was read from.
        figures: What was compiled.
        outcome: What was done with the store.
    """

    name: str
    figures: SessionFigures
    outcome: Outcome


def read_shard(path: Path) -> Shard:
    """Read a report that a session wrote for programs.

    Raises:
        ReportError: It is none, or cannot be read.
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= _MAX_BYTES else b""
    except OSError as error:
        raise ReportError(str(path), error.strerror or str(error), _REMEDY) from error
    try:
        values = json.loads(content)
        _check(isinstance(values, dict))
        written = values["format"]
        _check(type(written) is int)
        if written == FORMAT:
            return Shard(str(path), _figures(values), _outcome(values))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReportError(str(path), "it is no report of a session", _REMEDY) from error
    reason = f"it has format {written}, and this version reads {FORMAT}"
    raise ReportError(str(path), reason, "use one version in all jobs")


def united(shards: Sequence[Shard]) -> Shard:
    """All shards as one. A test that ran in several counts once, with all that it compiled."""
    figures = SessionFigures()
    for shard in shards:
        for test, record in shard.figures.tests.items():
            figures.add(test, record)
        figures.add_outside(shard.figures.outside)
    outcomes = [shard.outcome for shard in shards]
    outcome = Outcome(
        restored=_sum(each.restored for each in outcomes),
        saved=_sum(each.saved for each in outcomes),
        unsaved=_first(each.unsaved for each in outcomes) or "",
        store=_first(each.store for each in outcomes),
        troubles=tuple(dict.fromkeys(trouble for each in outcomes for trouble in each.troubles)),
    )
    return Shard("", figures, outcome)


def values_of(shards: Sequence[Shard]) -> dict[str, Any]:
    """The values of the report of all shards, which can be united again, and a line of each."""
    whole = united(shards)
    values = report_values(whole.figures, whole.outcome)
    return {**values, "shards": [_row(shard) for shard in shards]}


def lines_of(shards: Sequence[Shard]) -> list[Line]:
    """The summary of all shards, and a line of each that was not warm."""
    whole = united(shards)
    lines = summary(whole.figures, whole.outcome)
    if not lines:
        return [Line("nothing was compiled")]
    cold = [_row(shard) for shard in shards if shard.figures.compiled and not shard.figures.warm]
    if cold and len(shards) > 1:
        lines.append(Line(f"not warm in {len(cold)} of {len(shards)} shards:"))
        lines += [
            Line(f"  {each['shard']}: misses {each['misses']}, builds {each['builds']}")
            for each in cold
        ]
    return lines


def _row(shard: Shard) -> dict[str, Any]:
    all_of_it = shard.figures.sum
    return {
        "shard": shard.name,
        "warm": shard.figures.warm,
        "compiled": shard.figures.compiled,
        "tests": len(shard.figures.expected),
        "cold": len(shard.figures.cold()),
        "hits": all_of_it.count("hit"),
        "misses": all_of_it.count("miss"),
        "builds": all_of_it.builds,
        "seconds": all_of_it.seconds,
    }


def _figures(values: dict[str, Any]) -> SessionFigures:
    tests = {str(name): _record(each) for name, each in values["tests"].items()}
    return SessionFigures(tests, _record(values["outside"]))


def _record(values: dict[str, Any]) -> CompileRecord:
    record = CompileRecord.from_mapping(values)
    # What is of another kind shall fail here, and not where it is added up.
    _check(all(type(each.count) is int for each in record.events))
    _check(all(type(each) is float for each in (record.seconds, record.seconds_saved)))
    _check(type(record.graphs) is int)
    return record


def _check(good: bool) -> None:
    if not good:
        raise ValueError("it is of another kind")


def _outcome(values: dict[str, Any]) -> Outcome:
    return Outcome(
        restored=_result(values["restored"]),
        saved=_result(values["saved"]),
        unsaved=str(values["unsaved"]),
        store=None if values["store"] is None else str(values["store"]),
        troubles=tuple(Trouble(**each) for each in values["troubles"]),
    )


def _result(values: dict[str, Any] | None) -> CacheResult | None:
    return None if values is None else CacheResult.from_mapping(values)


def _sum(results: Iterable[CacheResult | None]) -> CacheResult | None:
    """What all shards did; they worked side by side, so the longest time counts."""
    found = [each for each in results if each is not None]
    if not found:
        return None

    def add(name: str) -> int:
        return sum(getattr(each, name) for each in found)

    return replace(
        min(found, key=lambda each: _BY_NEED.index(each.status)),
        files=add("files"),
        bytes=add("bytes"),
        packs=add("packs"),
        refreshed=add("refreshed"),
        duplicates=add("duplicates"),
        merged=add("merged"),
        seconds=max(each.seconds for each in found),
        left_out={path: why for each in found for path, why in each.left_out.items()},
        torn=tuple(torn for each in found for torn in each.torn),
        troubles=tuple(dict.fromkeys(one for each in found for one in each.troubles)),
        explanation=_first(each.explanation for each in found) or "",
    )


def _first(values: Iterable[str | None]) -> str | None:
    return next(filter(None, values), None)
