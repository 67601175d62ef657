"""The two calls of a server: ``load_compile_cache()`` and ``save_compile_cache()``.

They import neither pytest nor torch, and raise nothing but errors in settings.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping, MutableMapping
from dataclasses import replace

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble
from pytest_compilecache.cache.log import LOGGER, log_evicted, log_result
from pytest_compilecache.errors import CompileCacheWarning, SettingsError
from pytest_compilecache.places import make_private
from pytest_compilecache.process import (
    DYNAMIC_THREADS,
    CompileProcess,
    Site,
    Terms,
    failed,
    find_site,
)
from pytest_compilecache.server_settings import ServerSettings, read_server_settings
from pytest_compilecache.store import open_store
from pytest_compilecache.torchhooks.metrics import compiled_before

# The caller's line: it called a public function, that _load or _save, that _read_settings.
_CALLERS_LEVEL = 4

_LATE_FOR_THREADS = (
    "Inductor was imported before load_compile_cache(), so machines with other core counts share "
    f"nothing with this one (set {DYNAMIC_THREADS}=1, or call it earlier)"
)
_COMPILED_BEFORE_LOAD = Trouble(
    "load_compile_cache()",
    "this process compiled before it: that is neither shared nor protected from code that was "
    "made for another processor",
    "call it before the first compile",
)
_COMPILED_WITHOUT_LOAD = Trouble(
    "save_compile_cache()",
    "this process compiled without load_compile_cache(): nothing of that is saved",
    "call load_compile_cache() before the first compile",
)

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
            The other settings are environment variables, which the page on settings lists.

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
    """Do what ``load_compile_cache`` does, and return its figures and what went wrong."""
    return _load(store)


def save_compile_cache(*, store: str | os.PathLike[str] | None = None) -> OperationStatus:
    """Add what this workspace has compiled since the last save to the store.

    Any process with the same variables can do it. Saves that race all succeed.
    Nothing is deleted from the store but packs that no reader needs any more.

    Args:
        store: The store, in place of what ``B10FS_CACHE_DIR`` names.

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
    """Do what ``save_compile_cache`` does, and return its figures and what went wrong.

    The result also names the files that were left out, such as those that a compiler was writing.
    """
    return _save(store)


class ServerProcess:
    """What the two calls share in one process.

    Args:
        environ: The variables of the process, which loading changes.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self._settings: ServerSettings | None = None
        self._process = CompileProcess(self._find, _report, self._hook_failed, environ)
        self._lock = threading.Lock()

    @property
    def users_environ(self) -> dict[str, str]:
        """The variables without those that we set, here or in a parent process."""
        return self._process.users_environ

    def load(self, settings: ServerSettings) -> CacheResult:
        """Bring what the workspace lacks from the store, and let torch work there."""
        with self._lock:
            late = self._process.site is None and compiled_before()
            self._settings = settings
            terms = _terms(settings)
            result = self._process.load(terms)
            self._note(terms)
        troubles = (_COMPILED_BEFORE_LOAD, *result.troubles) if late else result.troubles
        return replace(result, troubles=troubles)

    def save(self, settings: ServerSettings) -> CacheResult:
        """Add what is new in the workspace to the store."""
        with self._lock:
            stray = self._process.site is None and compiled_before()
            self._settings = settings
            result = self._why_not(settings) or self._process.save(_terms(settings))
            if result.status is not OperationStatus.ERROR or result.usable:
                self._evict(settings)
        troubles = (_COMPILED_WITHOUT_LOAD, *result.troubles) if stray else result.troubles
        return replace(result, troubles=troubles)

    def end(self) -> None:
        """Give torch and the variables back as they were."""
        with self._lock:
            self._process.end()

    def _find(self, users: Mapping[str, str]) -> Site:
        """Find the environment and its workspace, the same in every process like this one.

        Raises:
            CompileCacheError: There is no workspace that could be trusted.
            OSError: The same.
        """
        settings = self._settings or read_server_settings(users)
        root = settings.work / f"compilecache-{os.getuid()}"
        make_private(root)  # before anything in it is believed
        named = str(settings.inductor) if settings.inductor else None
        return find_site(root, users, named)

    def _why_not(self, settings: ServerSettings) -> CacheResult | None:
        """Why nothing may be saved: artifacts of two environments may lie in one workspace."""
        site = self._process.site
        try:
            now = self._find(self.users_environ)
            # Also before a save: a folder that others filled is not this user's.
            now.workspace.prepare(now.environment.id)
        except Exception as error:  # noqa: BLE001  (the cache is never worth a server)
            return failed(settings.work, error)
        if site is None or site.environment == now.environment:
            return None
        differences = "; ".join(map(str, now.environment.differences(site.environment)))
        reason = f"the environment has changed since load_compile_cache(): {differences}"
        remedy = "set such variables before load_compile_cache()"
        changed = Trouble("save_compile_cache()", reason, remedy)
        return CacheResult(OperationStatus.ERROR, troubles=(changed,), usable=False)

    def _evict(self, settings: ServerSettings) -> None:
        evicted = self._process.evict(settings.limits)
        if evicted is not None:
            log_evicted(evicted)

    def _hook_failed(self, hook: str, error: Exception) -> None:
        LOGGER.warning("compile cache: off, for the hook %s failed: %r", hook, error)
        self._process.end()

    def _note(self, terms: Terms) -> None:
        site = self._process.site
        if site is None:
            return
        if site.unshared:
            LOGGER.info("compile cache: %s", site.unshared)
        set_here = dict(self._process.variables(site, terms))
        if DYNAMIC_THREADS not in {*set_here, *self.users_environ, *os.environ}:
            LOGGER.info("compile cache: %s", _LATE_FOR_THREADS)


def _terms(settings: ServerSettings) -> Terms:
    limits = settings.limits
    return Terms(settings.store, limits, wait_seconds=limits.lock_seconds)


def _report(sentence: str) -> None:
    LOGGER.warning("compile cache: vector instructions: %s", sentence)


_PROCESS: list[ServerProcess] = []


def _process() -> ServerProcess:
    # One, because what it changes is the process's: its variables, and torch.
    if not _PROCESS:
        _PROCESS.append(ServerProcess())
    return _PROCESS[0]


def _load(store: str | os.PathLike[str] | None) -> CacheResult:
    settings = _read_settings(store)
    return log_result("load", settings.store, _process().load(settings))


def _save(store: str | os.PathLike[str] | None) -> CacheResult:
    settings = _read_settings(store)
    return log_result("save", settings.store, _process().save(settings))


def _read_settings(store: str | os.PathLike[str] | None) -> ServerSettings:
    settings = read_server_settings(_process().users_environ)
    for clamped in settings.clamped:
        warnings.warn(str(clamped), CompileCacheWarning, stacklevel=_CALLERS_LEVEL)
    if store is not None:
        return replace(settings, store=os.fspath(store))
    if "://" in settings.store:
        _check_url(settings.store, settings.origins["store"])
    return settings


def _check_url(url: str, variable: str) -> None:
    try:
        open_store(url)
    except SettingsError as error:
        raise SettingsError(variable, f"{error.subject}: {error.reason}", error.remedy) from None
