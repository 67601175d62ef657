"""Contracts: what must hold of all that a test compiled. Plain data and its judgement.

A breach says what happened, to which function, why in torch's words, where in the
user's source, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields

from pytest_compilecache.compiling.events import CompileEvent, CompileRecord, EventKind

_MOST = 5


@dataclass(frozen=True, slots=True)
class Contracts:
    """What must hold of a test.

    Attributes:
        fullgraph: No graph breaks, and Dynamo runs nothing eager.
        max_graphs: How many graphs may be captured.
        max_graph_breaks: How many graph breaks there may be.
        max_recompiles: How often functions may be compiled again.
        max_compile_seconds: Seconds that compiling may take, tracing included.
        warm: All comes from the cache, and something does.
        never_eager: Nothing that was to be compiled runs eager.
    """

    fullgraph: bool = False
    max_graphs: int | None = None
    max_graph_breaks: int | None = None
    max_recompiles: int | None = None
    max_compile_seconds: float | None = None
    warm: bool = False
    never_eager: bool = False

    @property
    def any(self) -> bool:
        """Whether anything must hold."""
        values = (getattr(self, item.name) for item in fields(self))
        return any(value is not None and value is not False for value in values)  # 0 is a limit

    @property
    def counting(self) -> bool:
        """Whether it matters how much the test compiles."""
        most = (self.max_graphs, self.max_graph_breaks, self.max_recompiles)
        return self.warm or any(each is not None for each in (*most, self.max_compile_seconds))

    def breaches(self, record: CompileRecord) -> list[str]:
        """What does not hold of a record, each with its reasons and what to do."""
        return [text for judge in _JUDGES for text in judge(self, record)]


def _fullgraph(contracts: Contracts, record: CompileRecord) -> Iterator[str]:
    broken, skipped = _events(record, "graph_break"), _events(record, "skip")
    if contracts.fullgraph and (broken or skipped):
        what = [f"the graph broke {_times(broken)}"] if broken else []
        what += [f"Dynamo skipped a function {_times(skipped)}"] if skipped else []
        yield _breach(
            f"fullgraph=True, but {' and '.join(what)}",
            broken + skipped,
            "change that line, or allow it: max_graph_breaks instead of fullgraph",
        )


def _graphs(contracts: Contracts, record: CompileRecord) -> Iterator[str]:
    most = contracts.max_graphs
    if most is not None and record.graphs > most:
        yield _breach(
            f"max_graphs={most}, but it captured {_number(record.graphs, 'graph')}",
            _events(record, "recompile", "graph_break"),
            "every recompile and every graph break makes one more",
        )


def _graph_breaks(contracts: Contracts, record: CompileRecord) -> Iterator[str]:
    most, broken = contracts.max_graph_breaks, _events(record, "graph_break")
    if most is not None and _count(broken) > most:
        yield _breach(
            f"max_graph_breaks={most}, but the graph broke {_times(broken)}",
            broken,
            "change the line that is named first; the next one may follow from it",
        )


def _recompiles(contracts: Contracts, record: CompileRecord) -> Iterator[str]:
    most, again = contracts.max_recompiles, _events(record, "recompile")
    if most is not None and _count(again) > most:
        yield _breach(
            f"max_recompiles={most}, but functions were compiled again {_times(again)}",
            again,
            "dynamic=True, or torch._dynamo.mark_dynamic, for a size that varies; a module "
            "attribute or a number that varies is better passed as a tensor",
        )


def _seconds(contracts: Contracts, record: CompileRecord) -> Iterator[str]:
    most = contracts.max_compile_seconds
    if most is not None and record.seconds > most:
        cold = f"{_number(record.count('miss'), 'miss')}, {_number(record.builds, 'build')}"
        yield _breach(
            f"max_compile_seconds={most:g}, but compiling took {record.seconds:.1f} s ({cold})",
            (),
            "a cold cache compiles: combine it with a store, or allow what a cold run takes",
        )


def _warm(contracts: Contracts, record: CompileRecord) -> Iterator[str]:
    if not contracts.warm or record.warm:
        return
    if not record.compiled:
        what = "nothing was compiled"
    else:
        found = f"{_number(record.count('miss'), 'miss')}, {_number(record.count('hit'), 'hit')}"
        what = f"not all came from the cache: {found}, {_number(record.builds, 'build')}"
    yield _breach(
        f"warm=True, but {what}",
        _events(record, "miss", "bypass", "fallback", "limit", "isa", "repair"),
        "run it once with the same store, environment and options; the summary says what differs",
    )


def _never_eager(contracts: Contracts, record: CompileRecord) -> Iterator[str]:
    eager = _events(record, "fallback", "limit", "skip", "disabled")
    if contracts.never_eager and eager:
        yield _breach(
            f"fallback='fail', but what was to be compiled ran eager {_times(eager)}",
            eager,
            "mend what is named; fallback='eager' allows it and says so",
        )


_JUDGES: tuple[Callable[[Contracts, CompileRecord], Iterator[str]], ...] = (
    _fullgraph,
    _graphs,
    _graph_breaks,
    _recompiles,
    _seconds,
    _warm,
    _never_eager,
)


def _events(record: CompileRecord, *kinds: EventKind) -> tuple[CompileEvent, ...]:
    return tuple(event for event in record.events if event.kind in kinds)


def _count(events: Iterable[CompileEvent]) -> int:
    return sum(event.count for event in events)


def _times(events: Iterable[CompileEvent]) -> str:
    count = _count(events)
    return "once" if count == 1 else f"{count} times"


def _number(count: int, one: str) -> str:
    return f"{count} {one if count == 1 else {'miss': 'misses'}.get(one, one + 's')}"


def _breach(what: str, events: Iterable[CompileEvent], remedy: str) -> str:
    told = [line for event in events if (line := _told(event))]
    lines = [what, *(f"  - {line}" for line in dict.fromkeys(told[:_MOST]))]
    if len(told) > _MOST:
        lines.append(f"  … and {len(told) - _MOST} more")
    return "\n".join((*lines, f"  What to do: {remedy}."))


def _told(event: CompileEvent) -> str:
    return ": ".join(part for part in (event.function, event.reason) if part)
