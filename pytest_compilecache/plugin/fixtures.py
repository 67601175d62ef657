"""The fixtures. What they return is loaded when they are used."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_compilecache.plugin.session import CompileSession

if TYPE_CHECKING:
    from pytest_compilecache.compiling.options import CompileOptions
    from pytest_compilecache.plugin.stats import CompileCacheFacts, CompileStats
    from pytest_compilecache.plugin.testing import Testing

SESSION = pytest.StashKey[CompileSession]()


def take_part(config: pytest.Config) -> Testing:
    """Register what counts and reports in this process, once; also in the middle of a session.

    A suite that never imports torch and gives none of our settings loads nothing of it.
    """
    found = config.pluginmanager.get_plugin("compilecache-testing")
    if found is not None:
        return found  # type: ignore[no-any-return]
    from pytest_compilecache.plugin.testing import Testing  # noqa: PLC0415

    session, manager = config.stash[SESSION], config.pluginmanager
    testing = Testing(session)
    manager.register(testing, "compilecache-testing")
    if not session.worker:
        from pytest_compilecache.plugin.reporting import Reporting  # noqa: PLC0415

        manager.register(Reporting(config, testing), "compilecache-reporting")
    if manager.hasplugin("xdist") or manager.hasplugin("xdist.plugin"):
        from pytest_compilecache.plugin.xdist import XdistHooks  # noqa: PLC0415

        manager.register(XdistHooks(testing), "compilecache-xdist")
    return testing


@pytest.fixture
def compile_model(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A function that compiles a model or function as the test's mark says.

    ``compile_model(model, **overrides)`` takes torch.compile's arguments over the
    mark's, and ``compile_model(model, options)`` a server's ``CompileOptions`` in place
    of the mark's. A graph that does not compile runs eager and is reported.
    """
    from pytest_compilecache.compiling.compiler import Compiler  # noqa: PLC0415
    from pytest_compilecache.compiling.hooks import HOOKS  # noqa: PLC0415
    from pytest_compilecache.plugin.marks import marked  # noqa: PLC0415

    item: pytest.Item = request.node
    options = marked(item).options
    session = request.config.stash[SESSION]
    session.guard.call("the fixture compile_model", session.start)
    session.guard.call("the fixture compile_model", session.watch)
    run = take_part(request.config).running(item)
    compiler = Compiler(HOOKS.graphs, HOOKS.frames, HOOKS)

    def compile_it(model: Any, given: CompileOptions | None = None, /, **overrides: Any) -> Any:
        asked = replace(given or options, **overrides)
        if run.eager:
            return model
        run.guard()
        if asked.fullgraph:
            run.expect_full_graph()
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
    """Whether this item of a test runs ``compiled`` or ``eager`` (``--compilecache-run=both``)."""
    return str(getattr(request, "param", "compiled"))


@pytest.fixture
def compile_stats(request: pytest.FixtureRequest) -> CompileStats:
    """What this test compiled so far, its fixtures included."""
    from pytest_compilecache.plugin.stats import CompileStats  # noqa: PLC0415

    testing = take_part(request.config)
    testing.running(request.node)
    return CompileStats(testing.record_so_far)


@pytest.fixture
def compile_cache(request: pytest.FixtureRequest) -> CompileCacheFacts:
    """Facts about the cache in this session."""
    from pytest_compilecache.plugin.stats import CompileCacheFacts  # noqa: PLC0415

    session = request.config.stash[SESSION]
    site = session.site()
    return CompileCacheFacts(
        directory=site.workspace.inductor if site else None,
        environment=site.environment.id if site else None,
        store=session.settings.store,
        settings=session.settings,
    )


@pytest.fixture
def fresh_compile_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty cache of the test's own, for a cold start; it yields its folder.

    Precompiled headers stay shared: they are the toolchain's, not a model's.
    """
    from pytest_compilecache.torchhooks.cache_folders import clear_inductor_memory  # noqa: PLC0415
    from pytest_compilecache.torchhooks.frames import reset_dynamo  # noqa: PLC0415

    session = request.config.stash[SESSION]
    session.guard.call("the fixture fresh_compile_cache", session.start)
    session.guard.call("the fixture fresh_compile_cache", session.watch)
    folder = tmp_path / "compile-cache"
    folder.mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        patch.setenv("TRITON_CACHE_DIR", str(folder / "triton"))
        reset_dynamo()
        clear_inductor_memory()
        session.recorder.fresh = True
        yield folder
    reset_dynamo()
    clear_inductor_memory()
