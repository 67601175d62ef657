"""What the fixtures ``compile_stats`` and ``compile_cache`` give to a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
from pytest_compilecache.session_settings import Settings


@dataclass(frozen=True, slots=True)
class CompileCacheFacts:
    """Facts about the cache in this session.

    Attributes:
        directory: The folder that torch keeps its artifacts in, or None.
        environment: The id of the environment, or None when it is not known.
        store: The store, or None.
        settings: All settings.
    """

    directory: Path | None
    environment: str | None
    store: str | None
    settings: Settings


@dataclass(frozen=True, slots=True)
class CompileStats:
    """What the running test compiled so far, its fixtures included."""

    _read: Callable[[], CompileRecord]

    @property
    def record(self) -> CompileRecord:
        """Everything."""
        return self._read()

    @property
    def events(self) -> tuple[CompileEvent, ...]:
        """The compile events."""
        return self.record.events

    @property
    def hits(self) -> int:
        """Graphs that came from the cache."""
        return self.record.count("hit")

    @property
    def misses(self) -> int:
        """Graphs that had to be compiled."""
        return self.record.count("miss")

    @property
    def bypasses(self) -> int:
        """Graphs that torch cannot cache."""
        return self.record.count("bypass")

    @property
    def recompiles(self) -> int:
        """Functions that were compiled again for new inputs."""
        return self.record.count("recompile")

    @property
    def graph_breaks(self) -> int:
        """Places at which Dynamo broke a graph."""
        return self.record.count("graph_break")

    @property
    def fallbacks(self) -> int:
        """Graphs that did not compile and run eager."""
        return self.record.count("fallback")

    @property
    def graphs(self) -> int:
        """Graphs that were captured."""
        return self.record.graphs

    @property
    def builds(self) -> int:
        """Objects, libraries and headers that a compiler was started for."""
        return self.record.builds

    @property
    def seconds(self) -> float:
        """Seconds spent compiling, tracing included."""
        return self.record.seconds
