"""What torch tells about itself at one moment: plain data, read by ``private``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CACHE_STATES = ("hit", "miss", "bypass")


@dataclass(frozen=True, slots=True)
class IsaProbe:
    """What torch found out about vector instructions in this process.

    Attributes:
        picked: The instruction set that it generates code for.
        worked: The sets that the CPU has and whose probe libraries load.
        failed: The sets that the CPU has and whose probe libraries do not.
    """

    picked: str
    worked: tuple[str, ...]
    failed: tuple[str, ...]


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
