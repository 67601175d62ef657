"""Turns torch's counters and metrics into compile events, one record per stretch of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_compilecache.compiling.builds import BuildCounter
from pytest_compilecache.compiling.events import CompileEvent, CompileRecord, EventSink, shortened
from pytest_compilecache.torchhooks import cache_folders, metrics
from pytest_compilecache.torchhooks.metrics import Compilation, Counts
from pytest_compilecache.torchhooks.names import dynamo_loaded

# Torch keeps AOTAutograd's entry only when the backward is compiled, so a test
# that calls a trainable model forward only finds its kernels and never this.
_REDONE = "AOTAutograd ran again, the kernels came from the cache"


@dataclass(slots=True)
class Recorder:
    """Records what the compiler did since the last call.

    Attributes:
        sink: Events that torch tells in passing: fallbacks, limits, vector instructions.
        builds: Real compiler work.
        bypasses: Torch's reasons for not caching, in the order in which they came.
        compiles: How often each function was compiled, in the last record.
        fresh: Whether a cold start is in force that a test asked for.
    """

    sink: EventSink = field(default_factory=EventSink)
    builds: BuildCounter = field(
        default_factory=lambda: BuildCounter(cache_folders.artifact_folders)
    )
    bypasses: list[str] = field(default_factory=list)
    fresh: bool = False
    compiles: Counter[str] = field(default_factory=Counter)
    _metrics: metrics.MetricsReader = field(default_factory=metrics.MetricsReader)
    _measured: list[Compilation] = field(default_factory=list)
    _breaks: metrics.GraphBreakReader = field(default_factory=metrics.GraphBreakReader)
    _counts: Counts = field(default_factory=Counts)

    def begin(self) -> None:
        """Leave out what this process compiled before."""
        self.builds.drain()
        self.bypasses.clear()
        if dynamo_loaded():
            self._counts = metrics.read_counts()
            self._metrics.read()
            self._measured.clear()
            self._breaks.read()

    def read_metrics(self) -> None:
        """Read what torch measured so far; it keeps few entries."""
        self._measured += self._metrics.read()

    def drain(self) -> CompileRecord | None:
        """What the compiler did since the last call, or None when it did nothing."""
        if not dynamo_loaded():
            return None
        before, self._counts = self._counts, metrics.read_counts()
        compilations, self._measured = [*self._measured, *self._metrics.read()], []
        built = self.builds.drain()
        passing = self.sink.drain()
        placed = [_graph_break(*one) for one in self._breaks.read()]
        if self._counts == before and not (compilations or built or passing or placed):
            return None
        fallbacks = any(event.kind == "fallback" for event in passing)
        looked_up = self._cache_events(before, compilations, fallbacks=fallbacks)
        events = (*looked_up, *_recompiles(compilations))
        self.compiles = Counter(one.function for one in compilations if one.forward)
        counted = list(_graph_breaks(before.graph_breaks, self._counts.graph_breaks))
        # With their places, unless a test cleared that list.
        breaks = placed if len(placed) >= sum(one.count for one in counted) else counted
        return CompileRecord(
            events=(*events, *breaks, *passing),
            graphs=max(
                _risen(before.graphs, self._counts.graphs),
                sum(one.forward and not one.failed and bool(one.function) for one in compilations),
            ),
            seconds=sum(one.seconds for one in compilations),
            seconds_saved=sum(one.seconds_saved for one in compilations),
            built=built,
            fresh=self.fresh,
        )

    def _cache_events(
        self, before: Counts, compilations: list[Compilation], *, fallbacks: bool
    ) -> Iterator[CompileEvent]:
        now = self._counts
        # A test may clear the counters; the metrics then still know.
        hits = max(_rise(before.fx, now.fx, "hit"), sum(one.hits for one in compilations))
        misses = max(_rise(before.fx, now.fx, "miss"), sum(one.misses for one in compilations))
        redone = _rise(before.aot, now.aot, "miss")
        if not (hits or misses):  # an entry of AOTAutograd can hold its kernels itself
            hits = _rise(before.aot, now.aot, "hit")
        if hits:
            yield CompileEvent("hit", hits, reason=_REDONE if redone and not misses else "")
        if misses:
            yield CompileEvent("miss", misses)
        elif redone and not hits:
            yield CompileEvent("miss", redone, reason="AOTAutograd")
        bypassed = max(_rise(before.fx, now.fx, "bypass"), _rise(before.aot, now.aot, "bypass"))
        reasons, self.bypasses[:] = list(dict.fromkeys(self.bypasses)), []
        fell_back = bypassed and not reasons and fallbacks
        if bypassed and not fell_back:
            yield CompileEvent("bypass", bypassed, reason="; ".join(reasons))


def _rise(before: Mapping[str, int], now: Mapping[str, int], state: str) -> int:
    return _risen(before.get(state, 0), now.get(state, 0))


def _risen(before: int, now: int) -> int:
    # Below what it was: somebody cleared the counters, and this came since.
    return now - before if now >= before else now


def _recompiles(compilations: list[Compilation]) -> Iterator[CompileEvent]:
    for one in compilations:
        if one.recompile_reason:
            reason = shortened(one.recompile_reason)
            yield CompileEvent("recompile", function=one.function, reason=reason)


def _graph_breaks(before: Mapping[str, int], now: Mapping[str, int]) -> Iterator[CompileEvent]:
    for reason, count in now.items():
        risen = _risen(before.get(reason, 0), count)
        if risen:
            yield _graph_break("", str(reason), risen)


def _graph_break(place: str, reason: str, count: int = 1) -> CompileEvent:
    return CompileEvent("graph_break", count, function=place, reason=shortened(reason))
