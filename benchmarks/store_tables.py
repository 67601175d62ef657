"""The tables of ``store.py``: each number beside its target."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

MIB = 1 << 20
MEMORY_TARGET = 64_000_000 + 4 * MIB  # DESIGN: 64 MB above the largest frame


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Attributes:
        name: What was timed.
        base: What it is compared with, round by round, or empty.
        target: What the ratio may be, or without a base the seconds; None for no target.
    """

    name: str
    base: str = ""
    target: float | None = None


def steps(rows: list[Row], times: dict[str, list[float]], says: dict[str, str]) -> str:
    """What was timed, as far as it was.

    Args:
        rows: The rows, in their order.
        times: The seconds of each step, one a round.
        says: What a step said of itself, where that matters.
    """
    lines = [
        "| step | rounds | median s | median (min to max) | target |",
        "|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_step(row, times, says) for row in rows if times.get(row.name)])


def _step(row: Row, times: dict[str, list[float]], says: dict[str, str]) -> str:
    taken = times[row.name]
    values, unit = taken, " s"
    if row.base:
        values = [one / other for one, other in zip(taken, times[row.base], strict=True)]
        unit = f" of {row.base}"
    middle = statistics.median(values)
    spread = f"{middle:.3f} ({min(values):.3f} to {max(values):.3f}){unit}"
    name = f"{row.name}: {says[row.name].upper()}" if row.name in says else row.name
    seconds = statistics.median(taken)
    return f"| {name} | {len(taken)} | {seconds:.3f} | {spread} | {_verdict(middle, row.target)} |"


def _verdict(value: float, target: float | None) -> str:
    if target is None:
        return "none"
    return f"<= {target:g}: {'met' if value <= target else 'MISSED'}"


def memory(peaks: dict[str, list[int]]) -> str:
    """The most that each operation took beside an idle process."""
    lines = ["| peak memory beside an idle process | MiB | target |", "|---|---|---|"]
    for action, values in peaks.items():
        verdict = _verdict(round(max(values) / MIB, 1), round(MEMORY_TARGET / MIB, 1))
        lines.append(f"| {action} | {max(values) / MIB:.1f} | {verdict} |")
    return "\n".join(lines)


def sizes(stored: dict[str, int], content: int) -> str:
    """What each takes in its store."""
    lines = ["| stored by | MB | ratio |", "|---|---|---|"]
    lines += [
        f"| {name} | {size / 1e6:.1f} | {content / size:.2f} |" for name, size in stored.items()
    ]
    return "\n".join(lines)


def growth(seconds: list[float]) -> str:
    """How long saves take when there were many before."""
    tenth = max(1, len(seconds) // 10)
    first, last = (statistics.median(part) for part in (seconds[:tenth], seconds[-tenth:]))
    return (
        f"Of {len(seconds)} saves the first tenth took {first:.3f} s (median), "
        f"the last {last:.3f} s, the longest {max(seconds):.3f} s, all {sum(seconds):.0f} s."
    )
