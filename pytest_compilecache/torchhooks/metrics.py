"""What torch counts and measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.frames import frame_place
from pytest_compilecache.torchhooks.names import AUTOGRAD_CACHE, CODECACHE, DYNAMO_UTILS, loaded

CACHE_STATES = ("hit", "miss", "bypass")
BYPASSES = ((CODECACHE, "BypassFxGraphCache"), (AUTOGRAD_CACHE, "BypassAOTAutogradCache"))


def _no_lookups() -> dict[str, int]:
    return dict.fromkeys(CACHE_STATES, 0)


@dataclass(frozen=True, slots=True)
class Counts:
    """Torch's counters at one moment."""

    fx: Mapping[str, int] = field(default_factory=_no_lookups)
    aot: Mapping[str, int] = field(default_factory=_no_lookups)
    graphs: int = 0
    graph_breaks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compilation:
    """One entry of torch's compilation metrics.

    Attributes:
        function: The function and its place, empty for a backward graph.
        seconds: Time spent, tracing included.
        seconds_saved: Time that a hit saved.
        recompile_reason: Why it was compiled again, or empty.
        forward: Whether it is a forward graph.
        failed: Whether it came to nothing.
        hits: Hits of the FX cache (torch 2.11 and later).
        misses: Misses of the FX cache (torch 2.11 and later).
    """

    function: str
    seconds: float
    seconds_saved: float
    recompile_reason: str
    forward: bool
    failed: bool
    hits: int
    misses: int

    @classmethod
    def from_entry(cls, entry: Any) -> Compilation:
        """Read an entry, of whose fields each version of torch has its own selection."""

        def number(name: str) -> float:
            return float(getattr(entry, name, None) or 0)

        name = getattr(entry, "co_name", None)
        place = f"{getattr(entry, 'co_filename', '')}:{getattr(entry, 'co_firstlineno', '')}"
        return cls(
            function=f"{name} ({place})" if name else "",
            seconds=number("duration_us") / 1e6 or number("entire_frame_compile_time_s"),
            seconds_saved=number("distributed_ephemeral_timeout_us") / 1e6,
            recompile_reason=getattr(entry, "recompile_reason", None) or "",
            forward=getattr(entry, "is_forward", None) is not False,
            failed=getattr(entry, "fail_type", None) is not None,
            hits=int(number("inductor_fx_local_cache_hit_count")),
            misses=int(number("inductor_fx_local_cache_miss_count")),
        )


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


def compiled_before() -> bool:
    """Whether Inductor has looked for anything in its cache in this process."""
    return any(read_counts().fx.values())


@dataclass(slots=True)
class MetricsReader:
    """Reads torch's compilation metrics, each entry once, and leaves them to others."""

    _last: Any = None

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


def note_bypasses(
    patches: Patches, module: str, class_name: str, note: Callable[[str], object]
) -> None:
    """Report the reason of each cache bypass, which torch itself only logs."""
    bypass = loaded(module, class_name)

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def noting(self: BaseException, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            if type(self) is bypass:  # a subclass says "miss"
                note(" ".join(word for argument in args for word in str(argument).split()))

        return noting

    if bypass is not None and not patches.wrap(bypass, "__init__", make):
        # It inherits the one of Exception: ours is taken away again.
        patches.set(bypass, "__init__", make(bypass.__init__))


@dataclass(slots=True)
class GraphBreakReader:
    """Reads the graph breaks that Dynamo remembers, each once, with its place."""

    _seen: int = 0

    def read(self) -> list[tuple[str, str]]:
        """The breaks since the last call: where in the user's source, and why."""
        reasons = loaded(DYNAMO_UTILS, "graph_break_reasons")
        if not isinstance(reasons, list):
            return []
        if len(reasons) < self._seen:  # a test cleared them
            self._seen = 0
        news = reasons[self._seen :]
        self._seen = len(reasons)
        return [
            (frame_place(getattr(one, "user_stack", None)), str(getattr(one, "reason", "")))
            for one in news
        ]
