"""The pytest plugin: hooks that delegate. The only importer of pytest.

Loading it imports neither torch nor anything that a suite without compiled
tests would notice; ``benchmarks/startup.py`` measures that. What counts and
reports is registered only when torch is imported, or there is something to say.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from functools import partial

import pytest

from pytest_compilecache.plugin import options
from pytest_compilecache.plugin.fixtures import (
    SESSION,
    assert_matches_eager,
    compile_cache,
    compile_model,
    compile_stats,
    compilecache_way,
    compiled_model,
    fresh_compile_cache,
    take_part,
)
from pytest_compilecache.plugin.session import CompileSession

__all__ = [
    "assert_matches_eager",
    "compile_cache",
    "compile_model",
    "compile_stats",
    "compilecache_way",
    "compiled_model",
    "fresh_compile_cache",
    "pytest_addoption",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_load_initial_conftests",
    "pytest_make_collect_report",
    "pytest_runtest_call",
    "pytest_sessionfinish",
]

MARK = (
    "compiled(mode=None, fullgraph=False, dynamic=None, backend='inductor', options=None, ...): "
    "how compiled_model and compile_model compile in this test, in torch.compile's own arguments. "
    "fallback='eager'|'fail'|'skip'|'xfail' says what a failure to compile means. Contracts, for "
    "all that the test compiles: fullgraph, max_graphs, max_graph_breaks, max_recompiles, "
    "max_compile_seconds, warm. Marks on a class or module are defaults."
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the options."""
    options.add_options(parser, pluginmanager)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Wait for torch before any conftest can import it."""
    _begin(early_config)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and our hooks where there is something to say or to hear."""
    config.addinivalue_line("markers", MARK)
    session = _begin(config)
    # Workers may compile though the controller never imports torch.
    has_workers = config.getoption("dist", "no") != "no"
    if session.configured or options.given(config) or has_workers:
        session.guard.call("pytest_configure", take_part, config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail the collection of tests with wrong marks; xdist's workers can report that as well."""
    report = yield
    session = collector.config.stash[SESSION]
    session.guard.call("pytest_make_collect_report", _check_marks, collector, report)
    return report


def _check_marks(collector: pytest.Collector, report: pytest.CollectReport) -> None:
    items = (item for item in report.result or () if isinstance(item, pytest.Item))
    marked = [item for item in items if item.get_closest_marker("compiled") is not None]
    if marked:
        from pytest_compilecache.plugin.marks import faults  # noqa: PLC0415

        wrong = faults(marked)
        if wrong:
            report.outcome, report.result = "failed", []
            report.longrepr = "\n".join(wrong)
        # Its mark must hold though torch is not imported before the test itself does it.
        take_part(collector.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Collect marked tests twice where the person asked for both ways."""
    session = metafunc.config.stash[SESSION]
    if session.configured and session.settings.run == "both":
        from pytest_compilecache.plugin.testing import both_ways  # noqa: PLC0415

        session.guard.call("pytest_generate_tests", both_ways, metafunc)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Watch the examples of a test under hypothesis's @given, before hypothesis looks at it."""
    if "hypothesis" not in sys.modules or not _may_compile(item):
        return (yield)
    from pytest_compilecache.plugin.given import is_given, watched_examples  # noqa: PLC0415

    if not is_given(item):
        return (yield)
    with watched_examples(item, item.config.stash[SESSION]):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Save what is new; a conftest may import torch as late as in this very hook."""
    reporting = session.config.pluginmanager.get_plugin("compilecache-reporting")
    if reporting is not None:
        reporting.finish(session)


def _may_compile(item: pytest.Item) -> bool:
    """Whether torch is there, or the test asks for one of our fixtures, which bring it."""
    asked = getattr(item, "fixturenames", ())
    return "torch" in sys.modules or any(name.startswith("compile") for name in asked)


def _begin(config: pytest.Config) -> CompileSession:
    session = config.stash.get(SESSION, None)
    if session is None:
        # What a person gave us wrongly is an error of usage, and raised.
        settings = options.resolve_settings(config)
        collect_only = bool(getattr(config.known_args_namespace, "collectonly", False))
        session = config.stash[SESSION] = CompileSession(settings, collect_only=collect_only)
        # Not pytest_unconfigure: it is not called when the command line is wrong.
        config.add_cleanup(partial(_end, session))
        session.guard.call(
            "pytest_load_initial_conftests", session.begin, partial(take_part, config)
        )
    return session


def _end(session: CompileSession) -> None:
    try:
        session.end()
    except Exception as error:  # noqa: BLE001  (pytest's own end must go on)
        session.failed("pytest_unconfigure", error)
