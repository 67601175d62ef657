"""Compile events: what the compiler did during one phase of one test. Plain data only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

EventKind = Literal[
    "hit",
    "miss",
    "bypass",
    "recompile",
    "graph_break",
    "fallback",
    "limit",
    "skip",
    "disabled",
    "isa",
    "repair",
]


@dataclass(frozen=True, slots=True)
class CompileEvent:
    """One thing that the compiler did, or that it did several times in the same way.

    Attributes:
        kind: A cache ``hit``, ``miss`` or ``bypass``; a ``recompile`` of a function for
            new inputs; a ``graph_break``; a ``fallback`` to eager after a compiler error;
            a ``limit``, after which the function runs eager; a ``skip`` of a function
            that Dynamo runs eager by itself; ``disabled``, eager because compiling is
            turned off; ``isa``, vector instructions picked lower than before; or a
            ``repair`` of a cached library that did not load.
        count: How many times.
        function: The function concerned, with its place, where torch tells.
        reason: Why, in torch's words where it has any.
    """

    kind: EventKind
    count: int = 1
    function: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CompileRecord:
    """All that the compiler did in a stretch of time, such as a phase of a test.

    Attributes:
        events: The events.
        graphs: Graphs that were captured.
        seconds: Seconds spent compiling, tracing included.
        seconds_saved: Seconds that hits saved, by torch's own account.
        built: The files that real compilers were started for.
        fresh: Whether a cold start was asked for, so that misses are no news.
    """

    events: tuple[CompileEvent, ...] = ()
    graphs: int = 0
    seconds: float = 0.0
    seconds_saved: float = 0.0
    built: tuple[str, ...] = ()
    fresh: bool = False

    def count(self, kind: EventKind) -> int:
        """How many events of a kind there were."""
        return sum(event.count for event in self.events if event.kind == kind)

    @property
    def builds(self) -> int:
        """How many objects, libraries and headers were really built."""
        return len(self.built)

    @property
    def compiled(self) -> bool:
        """Whether anything was compiled, loaded, or asked to be."""
        return bool(self.events or self.graphs or self.built)

    @property
    def warm(self) -> bool:
        """Whether all of it came from the cache, and something did."""
        cold = self.count("miss") + self.count("bypass") + self.count("fallback")
        return self.count("hit") > 0 and not cold and not self.count("limit") and not self.built

    def __add__(self, other: CompileRecord) -> CompileRecord:
        return CompileRecord(
            events=self.events + other.events,
            graphs=self.graphs + other.graphs,
            seconds=self.seconds + other.seconds,
            seconds_saved=self.seconds_saved + other.seconds_saved,
            built=self.built + other.built,
            fresh=self.fresh or other.fresh,
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain values that cross processes."""
        values = asdict(self)
        values["events"] = [
            {key: value for key, value in event.items() if value not in ("", 1)}
            for event in values["events"]
        ]
        values["built"] = list(self.built)
        return values

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> CompileRecord:
        """The inverse of ``to_mapping``."""
        events = tuple(CompileEvent(**event) for event in values["events"])
        return cls(**{**values, "events": events, "built": tuple(values["built"])})


# What torch adds to its reasons for those who work on torch.
_FOR_DEVELOPERS = re.compile(
    r"\s*(?:Developer debug context:|For more details about this graph break|"
    r"Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace|\(legend:)",
)
# The number of a compilation, in front of why it was needed again: "4/0: ...".
_NUMBER = re.compile(r"^\s*\d+/\d+:\s*")
# Where an object lies differs from run to run: two reasons that say the same would differ.
_ADDRESS = re.compile(r"\s+(?:object )?at 0x[0-9a-fA-F]{6,}|\b0x[0-9a-fA-F]{8,}\b")
_LONGEST_REASON = 400


def shortened(reason: str) -> str:
    """A reason of torch's on one line, without what only torch's developers need."""
    text = _NUMBER.sub("", _FOR_DEVELOPERS.split(reason, maxsplit=1)[0])
    text = " ".join(_ADDRESS.sub("", text).split())
    if len(text) <= _LONGEST_REASON:
        return text
    return text[:_LONGEST_REASON].rsplit(" ", 1)[0] + " …"


def total(records: Iterable[CompileRecord]) -> CompileRecord:
    """The sum of records."""
    result = CompileRecord()
    for record in records:
        result += record
    return result


@dataclass(slots=True)
class EventSink:
    """Where events wait that torch tells about once, in passing, until they are drained."""

    waiting: list[CompileEvent] = field(default_factory=list)

    def add(self, event: CompileEvent) -> None:
        """Note an event."""
        self.waiting.append(event)

    def drain(self) -> tuple[CompileEvent, ...]:
        """The events since the last call."""
        events = tuple(self.waiting)
        del self.waiting[: len(events)]
        return events
