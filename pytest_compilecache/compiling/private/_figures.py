"""What torch counts and measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_compilecache.compiling.facts import CACHE_STATES, Compilation, Counts
from pytest_compilecache.compiling.private._frames import frame_place
from pytest_compilecache.compiling.private._names import DYNAMO_UTILS, Undo, loaded, nothing

_METRICS_KEPT = 4096


def read_counts() -> Counts:
    """Read the counters; all zero where torch has compiled nothing."""
    counters = loaded(DYNAMO_UTILS, "counters")
    if counters is None:
        return Counts()
    inductor = counters.get("inductor", Counter())
    autograd = counters.get("aot_autograd", Counter())
    return Counts(
        fx={state: inductor.get(f"fxgraph_cache_{state}", 0) for state in CACHE_STATES},
        aot={state: autograd.get(f"autograd_cache_{state}", 0) for state in CACHE_STATES},
        graphs=counters.get("stats", Counter()).get("unique_graphs", 0),
        graph_breaks=dict(counters.get("graph_break", Counter())),
    )


@dataclass(slots=True)
class MetricsReader:
    """Reads torch's compilation metrics, each entry once, and leaves them to others."""

    _last: Any = None

    def widen(self) -> None:
        """Keep more than torch's 64 entries: a single test can compile more."""
        current = loaded(DYNAMO_UTILS, "_compilation_metrics")
        resize = loaded(DYNAMO_UTILS, "set_compilation_metrics_limit")
        if resize is not None and (getattr(current, "maxlen", None) or 0) < _METRICS_KEPT:
            resize(_METRICS_KEPT)

    def read(self) -> list[Compilation]:
        """The entries since the last call."""
        entries = loaded(DYNAMO_UTILS, "_compilation_metrics")
        fresh: list[Any] = []
        for entry in reversed(entries or ()):
            if entry is self._last:
                break
            fresh.append(entry)
        if fresh:
            self._last = fresh[0]
        return [Compilation.from_entry(entry) for entry in reversed(fresh)]


def note_bypasses(module: str, class_name: str, note: Callable[[str], None]) -> Undo:
    """Tell the reason of each cache bypass, which torch itself only logs."""
    bypass = loaded(module, class_name)
    if bypass is None:
        return nothing
    original = bypass.__init__

    def noting(self: BaseException, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if type(self) is bypass:  # a subclass says "miss"
            note(" ".join(word for argument in args for word in str(argument).split()))

    bypass.__init__ = noting

    def undo() -> None:
        bypass.__init__ = original

    return undo


@dataclass(slots=True)
class GraphBreakReader:
    """Reads the graph breaks that Dynamo remembers, each once, with its place."""

    _seen: int = 0

    def read(self) -> list[tuple[str, str]]:
        """The breaks since the last call: where in the user's source, and why."""
        reasons = loaded(DYNAMO_UTILS, "graph_break_reasons")
        if not isinstance(reasons, list):
            return []
        if len(reasons) < self._seen:  # somebody cleared them
            self._seen = 0
        news = reasons[self._seen :]
        self._seen = len(reasons)
        return [
            (frame_place(getattr(one, "user_stack", None)), str(getattr(one, "reason", "")))
            for one in news
        ]
