"""Registers what counts and reports, once there is something to count or to say.

A suite that never imports torch and gives none of our settings loads nothing of it.
"""

from __future__ import annotations

import functools

import pytest

from pytest_compilecache.plugin.collecting import Collecting
from pytest_compilecache.plugin.conduct import Conduct
from pytest_compilecache.plugin.policy import FallbackPolicy
from pytest_compilecache.plugin.session import CompileSession

COLLECTING = pytest.StashKey[Collecting]()


def take_part(config: pytest.Config, session: CompileSession) -> Collecting:
    """Register our hooks in this process, once; also in the middle of a session."""
    collecting = config.stash.get(COLLECTING, None)
    if collecting is None:
        collecting = config.stash[COLLECTING] = Collecting(session)
        manager = config.pluginmanager
        manager.register(collecting, "compilecache-collecting")
        manager.register(Conduct(collecting, _policy(session)), "compilecache-conduct")
        if not session.worker:
            from pytest_compilecache.plugin.reporting import Reporting  # noqa: PLC0415

            manager.register(Reporting(config, collecting), "compilecache-reporting")
        if manager.hasplugin("xdist") or manager.hasplugin("xdist.plugin"):
            from pytest_compilecache.plugin.xdist import XdistHooks  # noqa: PLC0415

            manager.register(XdistHooks(collecting), "compilecache-xdist")
    return collecting


def _policy(session: CompileSession) -> FallbackPolicy:
    mode = session.settings.fallback if session.configured else None
    policy = FallbackPolicy(mode or "eager", functools.partial(session.claim, "toolchain"))
    session.rule = policy
    return policy
