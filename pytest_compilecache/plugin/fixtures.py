"""The fixtures."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.backend import compile_function
from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
from pytest_compilecache.plugin.collecting import Collecting
from pytest_compilecache.plugin.marks import options_of
from pytest_compilecache.settings import Settings

COLLECTING = pytest.StashKey[Collecting]()


@dataclass(frozen=True, slots=True)
class CompileCacheFacts:
    """Facts about the cache in this session.

    Attributes:
        directory: The folder that torch keeps its artifacts in, or None.
        environment: The id of the environment, or None when it could not be told.
        store: The store, or None.
        settings: All settings.
    """

    directory: Path | None
    environment: str | None
    store: str | None
    settings: Settings


@dataclass(frozen=True, slots=True)
class CompileStats:
    """What the running test compiled so far, in its current phase."""

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


@pytest.fixture
def compile_model(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A function that compiles a model or function as the test's mark says.

    ``compile_model(model, **overrides)`` takes torch.compile's arguments over the
    mark's. A graph that does not compile runs eager and is reported.
    """
    options = options_of(request.node)
    sink = request.config.stash[COLLECTING].session.recorder.sink

    def compile_it(model: Any, **overrides: Any) -> Any:
        return compile_function(model, replace(options, **overrides), sink)

    return compile_it


@pytest.fixture
def compiled_model(compile_model: Callable[..., Any], model: Any) -> Any:
    """The test's ``model`` fixture, compiled as the test's mark says.

    A model of a wider scope is traced once for all its tests: equal options give
    equal backends, for which Dynamo keeps the compiled code.
    """
    return compile_model(model)


@pytest.fixture
def compile_stats(request: pytest.FixtureRequest) -> CompileStats:
    """What this test compiled so far, in its running phase."""
    collecting = request.config.stash[COLLECTING]
    return CompileStats(lambda: collecting.record_so_far(request.node))


@pytest.fixture
def compile_cache(request: pytest.FixtureRequest) -> CompileCacheFacts:
    """Facts about the cache in this session."""
    session = request.config.stash[COLLECTING].session
    return CompileCacheFacts(
        directory=session.workspace.inductor if session.workspace else None,
        environment=session.environment.id if session.environment else None,
        store=session.settings.store,
        settings=session.settings,
    )


@pytest.fixture
def fresh_compile_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty cache of the test's own, for a cold start; it yields its folder.

    Precompiled headers stay shared: they are the toolchain's, not a model's.
    """
    recorder = request.config.stash[COLLECTING].session.recorder
    directory = tmp_path / "compile-cache"
    directory.mkdir(mode=0o700)
    names = {
        "TORCHINDUCTOR_CACHE_DIR": str(directory),
        "TRITON_CACHE_DIR": str(directory / "triton"),
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    private.reset_dynamo()
    private.clear_inductor_memory()
    recorder.fresh = True
    try:
        yield directory
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        private.reset_dynamo()
        private.clear_inductor_memory()
