"""The pytest plugin: hooks that delegate. The only importer of pytest.

Loading it imports neither torch nor anything that a suite without compiled
tests would notice; ``benchmarks/startup.py`` measures that.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_compilecache.plugin import options
from pytest_compilecache.plugin.collecting import Collecting
from pytest_compilecache.plugin.fixtures import (
    COLLECTING,
    compile_cache,
    compile_model,
    compile_stats,
    compiled_model,
    fresh_compile_cache,
)
from pytest_compilecache.plugin.reporting import Reporting
from pytest_compilecache.plugin.session import CompileSession

__all__ = [
    "compile_cache",
    "compile_model",
    "compile_stats",
    "compiled_model",
    "fresh_compile_cache",
    "pytest_addoption",
    "pytest_configure",
    "pytest_load_initial_conftests",
    "pytest_make_collect_report",
    "pytest_unconfigure",
]

MARK = (
    "compiled(mode=None, fullgraph=False, dynamic=None, backend='inductor', options=None, "
    "fallback='eager'): how compiled_model and compile_model compile in this test; "
    "the arguments are torch.compile's. Marks on a class or module are defaults."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options."""
    options.add_options(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Set the variables before any conftest can import torch."""
    _begin(early_config)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the mark and the hooks of this session."""
    config.addinivalue_line("markers", MARK)
    collecting = _begin(config)
    manager = config.pluginmanager
    manager.register(collecting, "compilecache-collecting")
    if not collecting.session.worker:
        manager.register(Reporting(config, collecting), "compilecache-reporting")
    if manager.hasplugin("xdist"):
        from pytest_compilecache.plugin.xdist import XdistHooks  # noqa: PLC0415

        manager.register(XdistHooks(collecting), "compilecache-xdist")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail the collection of tests with wrong marks; xdist's workers can tell that as well."""
    report = yield
    items = (item for item in report.result or () if isinstance(item, pytest.Item))
    marked = [item for item in items if item.get_closest_marker("compiled") is not None]
    if marked:
        from pytest_compilecache.plugin.marks import faults  # noqa: PLC0415

        wrong = faults(marked)
        if wrong:
            report.outcome, report.result = "failed", []
            report.longrepr = "\n".join(wrong)
    return report


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Give everything back as it was."""
    collecting = config.stash.get(COLLECTING, None)
    if collecting is not None:
        collecting.session.end()
        del config.stash[COLLECTING]


def _begin(config: pytest.Config) -> Collecting:
    collecting = config.stash.get(COLLECTING, None)
    if collecting is None:
        collecting = Collecting(CompileSession.begin(options.resolve_settings(config)))
        config.stash[COLLECTING] = collecting
    return collecting
