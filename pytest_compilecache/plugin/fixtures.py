"""The fixtures. What they return is loaded when they are used."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_compilecache.plugin.session import CompileSession

if TYPE_CHECKING:
    from pytest_compilecache.compiling.options import CompileOptions
    from pytest_compilecache.plugin.stats import CompileCacheFacts, CompileStats

SESSION = pytest.StashKey[CompileSession]()


@pytest.fixture
def compile_model(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A function that compiles a model or function as the test's mark says.

    ``compile_model(model, **overrides)`` takes torch.compile's arguments over the
    mark's, and ``compile_model(model, options)`` a server's ``CompileOptions`` in place
    of the mark's. A graph that does not compile runs eager and is reported.
    """
    from pytest_compilecache.plugin.conduct import CONTRACTS  # noqa: PLC0415
    from pytest_compilecache.plugin.marks import marked  # noqa: PLC0415

    item: pytest.Item = request.node
    options = marked(item).options
    session = request.config.stash[SESSION]
    engine = session.start_engine()
    engine.compiling.guard_plain_calls()
    engine.budget.renew()
    compiler = engine.compiling.compiler

    def compile_it(model: Any, given: CompileOptions | None = None, /, **overrides: Any) -> Any:
        asked = replace(given or options, **overrides)
        if session.eager:
            return model
        if asked.fullgraph and CONTRACTS in item.stash:
            item.stash[CONTRACTS] = replace(item.stash[CONTRACTS], fullgraph=True)
        return compiler.compile(model, asked)

    return compile_it


@pytest.fixture
def assert_matches_eager(
    request: pytest.FixtureRequest, compile_model: Callable[..., Any]
) -> Callable[..., None]:
    """A function that asserts that compiled agrees with eager in values and gradients.

    ``assert_matches_eager(model, *args)`` compiles a model or function as the test's
    mark says; one that is compiled already is taken as it is. All of its arguments
    are those of ``pytest_compilecache.assert_matches_eager``.
    """
    from pytest_compilecache.agreement import (  # noqa: PLC0415
        assert_matches_eager,
        drawing_as_eager,
    )
    from pytest_compilecache.plugin.marks import marked  # noqa: PLC0415

    def compile_it(target: Any) -> Any:
        return compile_model(target, **drawing_as_eager(marked(request.node).options))

    return functools.partial(assert_matches_eager, compile=compile_it)


@pytest.fixture
def compiled_model(compile_model: Callable[..., Any], model: Any) -> Any:
    """The test's ``model`` fixture, compiled as the test's mark says.

    A model of a wider scope is traced once for all its tests: equal options give
    equal backends, for which Dynamo keeps the compiled code.
    """
    return compile_model(model)


@pytest.fixture
def compilecache_way(request: pytest.FixtureRequest) -> str:
    """Whether this item of a test runs ``compiled`` or ``eager`` (``--compiled=both``)."""
    return str(getattr(request, "param", "compiled"))


@pytest.fixture
def compile_stats(request: pytest.FixtureRequest) -> CompileStats:
    """What this test compiled so far, its fixtures included."""
    from pytest_compilecache.plugin.stats import CompileStats  # noqa: PLC0415
    from pytest_compilecache.plugin.taking_part import take_part  # noqa: PLC0415

    collecting = take_part(request.config, request.config.stash[SESSION])
    return CompileStats(lambda: collecting.record_so_far(request.node))


@pytest.fixture
def compile_cache(request: pytest.FixtureRequest) -> CompileCacheFacts:
    """Facts about the cache in this session."""
    from pytest_compilecache.plugin.stats import CompileCacheFacts  # noqa: PLC0415

    session = request.config.stash[SESSION]
    session.locate()
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
    from pytest_compilecache.compiling import private  # noqa: PLC0415

    recorder = request.config.stash[SESSION].start_engine().recorder
    folder = tmp_path / "compile-cache"
    folder.mkdir(mode=0o700)
    names = {"TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": folder / "triton"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(place) for name, place in names.items()})
    private.reset_dynamo()
    private.clear_inductor_memory()
    recorder.fresh = True
    try:
        yield folder
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        private.reset_dynamo()
        private.clear_inductor_memory()
