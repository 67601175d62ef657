"""The two calls of a server: ``load_compile_cache()`` and ``save_compile_cache()``.

They import neither pytest nor torch, and raise nothing but errors in settings.
"""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import replace

from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.cache.log import log_result
from pytest_compilecache.errors import CompileCacheWarning, SettingsError
from pytest_compilecache.server_settings import ServerSettings, read_server_settings
from pytest_compilecache.serving import ServerProcess
from pytest_compilecache.store import open_store

# The caller's line: he called a public function, that _load or _save, that _deployment.
_CALLERS_LEVEL = 4

__all__ = [
    "load_compile_cache",
    "load_compile_cache_result",
    "save_compile_cache",
    "save_compile_cache_result",
]


def load_compile_cache(*, store: str | os.PathLike[str] | None = None) -> OperationStatus:
    """Bring what earlier processes compiled, so that this one need not compile it again.

    Call it in every process that compiles, before its first compile, best before
    torch is imported: it points torch at a workspace and keeps code apart that
    was made for another processor. It may be called again.

    Args:
        store: The store, in place of what ``COMPILECACHE_STORE`` or ``B10FS_CACHE_DIR`` names.
            The other settings are environment variables, and the page of the settings lists
            them.

    Returns:
        ``SUCCESS`` when something was brought, ``SKIPPED`` when all that the store holds
        for this environment is here already, ``DOES_NOT_EXIST`` when it holds nothing for it,
        and ``ERROR`` when something went wrong, which costs time and nothing else. The
        logger ``pytest_compilecache`` has a warning with its reason and remedy then.

    Raises:
        SettingsError: A variable has a value that cannot be used; it is named.

    Warns:
        CompileCacheWarning: A number is out of its range and was clamped.

    Example:
        >>> status = load_compile_cache()  # doctest: +SKIP
        >>> model = torch.compile(model)
        >>> model(example)
        >>> save_compile_cache()
    """
    return _load(store).status


def load_compile_cache_result(*, store: str | os.PathLike[str] | None = None) -> CacheResult:
    """Do what ``load_compile_cache`` does, and tell the files, bytes, seconds and troubles."""
    return _load(store)


def save_compile_cache(*, store: str | os.PathLike[str] | None = None) -> OperationStatus:
    """Add what this workspace has compiled since the last save to the store.

    Any process with the same variables can do it. Saves that race all succeed.
    Nothing is deleted from the store but packs that nobody needs any more.

    Args:
        store: The store, in place of what ``COMPILECACHE_STORE`` or ``B10FS_CACHE_DIR`` names.

    Returns:
        ``SUCCESS`` when something was saved, ``SKIPPED`` when nothing is new, and ``ERROR``
        when nothing or not all could be saved, such as more than ``MAX_CACHE_SIZE_MB``. The
        logger ``pytest_compilecache`` has a warning with its reason and remedy then.

    Raises:
        SettingsError: A variable has a value that cannot be used; it is named.

    Warns:
        CompileCacheWarning: A number is out of its range and was clamped.
    """
    return _save(store).status


def save_compile_cache_result(*, store: str | os.PathLike[str] | None = None) -> CacheResult:
    """Do what ``save_compile_cache`` does, and tell the files, bytes, seconds and troubles.

    It also tells which files were left out, such as those that a compiler was writing.
    """
    return _save(store)


@functools.cache
def _process() -> ServerProcess:
    # One, because what it changes is the process's: its variables, and torch.
    return ServerProcess()


def _load(store: str | os.PathLike[str] | None) -> CacheResult:
    deployment = _deployment(store)
    return log_result("load", deployment.store, _process().load(deployment))


def _save(store: str | os.PathLike[str] | None) -> CacheResult:
    deployment = _deployment(store)
    return log_result("save", deployment.store, _process().save(deployment))


def _deployment(store: str | os.PathLike[str] | None) -> ServerSettings:
    deployment = read_server_settings(_process().users_environ)
    for clamped in deployment.clamped:
        warnings.warn(str(clamped), CompileCacheWarning, stacklevel=_CALLERS_LEVEL)
    if store is not None:
        return replace(deployment, store=os.fspath(store))
    if "://" in deployment.store:
        _check_url(deployment.store, deployment.origins["store"])
    return deployment


def _check_url(url: str, variable: str) -> None:
    try:
        open_store(url)
    except SettingsError as error:
        raise SettingsError(variable, f"{error.subject}: {error.reason}", error.remedy) from None
