"""Which store and which workspace a command is about."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

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
    deployment = read_deployment(environ)
    clamped = tuple(str(each) for each in deployment.clamped)
    if store is not None:
        return Chosen(replace(deployment, store=store), "--store", clamped)
    if environ.get(STORE, "").strip():
        return Chosen(deployment, STORE, clamped)
    named = environ.get(PLUGINS_STORE, "").strip()
    if named:
        return Chosen(replace(deployment, store=named), PLUGINS_STORE, clamped)
    return Chosen(deployment, "default", clamped)
