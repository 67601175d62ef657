"""Which store and which workspace a command is about."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_compilecache.deployment import STORE, Deployment, read_deployment
from pytest_compilecache.variables import users_environ

PLUGINS_STORE = "COMPILECACHE_STORE"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a command works with.

    Attributes:
        deployment: The store, the place for work, and the limits.
        store_from: Who named the store.
        warnings: What was clamped.
    """

    deployment: Deployment
    store_from: str
    warnings: tuple[str, ...] = ()


def choose(store: str | None) -> Chosen:
    """What the command line and the variables name.

    Raises:
        SettingsError: A variable has a value that cannot be used; it is named.
    """
    environ = users_environ(os.environ)
    origin = "--store"
    if store is None:
        origin, store = _named(environ)
    # Where one is named, none is looked for: a user without a home directory has no default.
    deployment = read_deployment(environ, store=store)
    return Chosen(deployment, origin, tuple(str(each) for each in deployment.clamped))


def _named(environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Who names the store, and its place where that is not the servers' own to read."""
    if environ.get(STORE, "").strip():
        return STORE, None
    named = environ.get(PLUGINS_STORE, "").strip()
    return (PLUGINS_STORE, named) if named else ("default", None)
