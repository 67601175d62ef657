"""One server process's part in the cache: load, protect, save. It never raises.

It imports neither pytest nor torch: what torch needs waits until the server imports torch.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from pytest_compilecache.cache import (
    CacheResult,
    OperationStatus,
    Trouble,
    restore,
    save,
    trouble,
)
from pytest_compilecache.cache.log import LOGGER, log_evicted
from pytest_compilecache.compiling.events import CompileEvent, EventSink
from pytest_compilecache.compiling.protection import Protection, compiled_before
from pytest_compilecache.deployment import INDUCTOR, Deployment
from pytest_compilecache.environment import Environment, detect_environment
from pytest_compilecache.imports import Callback, ImportWatch
from pytest_compilecache.places import make_private
from pytest_compilecache.variables import Variables, users_environ
from pytest_compilecache.workspace.evict import OwnUse, evict
from pytest_compilecache.workspace.place import Workspace, choose_workspace
from pytest_compilecache.workspace.sharing import SharedWorkspace, restoring_turn
from pytest_compilecache.workspace.usage import UsageLog

_DYNAMIC_THREADS = "TORCHINDUCTOR_CPP_DYNAMIC_THREADS"
_INDUCTOR_CONFIG = "torch._inductor.config"
_CLOCKS_APART = 1_000_000_000

_LATE_FOR_THREADS = (
    "Inductor was imported before load_compile_cache(), so machines with other core counts share "
    f"nothing with this one (set {_DYNAMIC_THREADS}=1, or call it earlier)"
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


@dataclass(frozen=True, slots=True)
class Site:
    """Where a process works.

    Attributes:
        environment: What decides whether artifacts may be used here.
        workspace: The folders that torch reads and writes.
    """

    environment: Environment
    workspace: Workspace


class ServerProcess:
    """What the two calls share in one process.

    Args:
        environ: The variables of the process, which loading changes.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._variables = Variables(self._environ)
        self._work: _Work | None = None
        self._lock = threading.Lock()

    @property
    def users_environ(self) -> dict[str, str]:
        """The variables without those that we set, here or in a parent process."""
        return users_environ(self._environ)

    def load(self, deployment: Deployment) -> CacheResult:
        """Bring what the workspace lacks from the store, and let torch work there."""
        started = time.perf_counter()
        late = self._work is None and compiled_before()
        with self._unheard():
            result = self._restore(deployment)
        troubles = (_COMPILED_BEFORE_LOAD, *result.troubles) if late else result.troubles
        return replace(result, troubles=troubles, seconds=time.perf_counter() - started)

    def save(self, deployment: Deployment) -> CacheResult:
        """Add what is new in the workspace to the store."""
        started = time.perf_counter()
        stray = self._work is None and compiled_before()
        try:
            result = self._save_and_evict(deployment)
        except Exception as error:  # noqa: BLE001  (the cache is never worth a server)
            result = _failed(deployment, error)
        troubles = (_COMPILED_WITHOUT_LOAD, *result.troubles) if stray else result.troubles
        return replace(result, troubles=troubles, seconds=time.perf_counter() - started)

    def _unheard(self) -> AbstractContextManager[None]:
        """While this thread reads artifacts without using them."""
        work = self._work
        return work.usage.ignoring_this_thread() if work is not None else nullcontext()

    def _save_and_evict(self, deployment: Deployment) -> CacheResult:
        site = self._locate(deployment)
        if self._work is not None:
            self._work.usage.flush()
        with self._unheard(), SharedWorkspace(site.workspace, site.environment.id):
            changed = self._changed(site)
            if changed is not None:
                return changed
            result = save(site.workspace, site.environment, deployment.store, deployment.limits)
        self._evict(site, deployment)
        return result

    def end(self) -> None:
        """Give torch and the variables back as they were."""
        with self._lock:
            if self._work is not None:
                self._work.end()
            self._work = None
            self._variables.restore()

    def _restore(self, deployment: Deployment) -> CacheResult:
        use: SharedWorkspace | None = None
        try:
            site = self._locate(deployment)
            # For the rest of this process's life: eviction would take kernels from under it.
            use = SharedWorkspace(site.workspace, site.environment.id)
            if not use.acquire():
                LOGGER.info("compile cache: not protected from eviction: %s", use.reason)
            with restoring_turn(site.workspace, deployment.limits.lock_seconds):
                result = restore(
                    site.workspace, site.environment, deployment.store, deployment.limits
                )
        except Exception as error:  # noqa: BLE001  (the cache is never worth a server)
            if use is not None:
                use.release()
            return _failed(deployment, error)
        if result.usable:
            self._work_at(site, use)
        else:
            use.release()
        return result

    def _locate(self, deployment: Deployment) -> Site:
        """Find out the environment and its workspace, the same in every process like this one.

        Raises:
            CompileCacheError: There is no workspace that could be trusted.
            OSError: The same.
        """
        root = deployment.work / f"compilecache-{os.getuid()}"
        make_private(root)  # before anything in it is believed
        environment = detect_environment(self.users_environ, compiler_memo=root / "compiler.json")
        named = str(deployment.inductor) if deployment.inductor else None
        workspace = choose_workspace(root, environment.id, named)
        workspace.prepare(environment.id)  # also before a save: what others put there is not ours
        if workspace.note:
            LOGGER.info("compile cache: %s", workspace.note)
        # Without the note, which a second look at the same folder does not have.
        return Site(environment, replace(workspace, note=""))

    def _changed(self, site: Site) -> CacheResult | None:
        """Why nothing may be saved: artifacts of two environments may lie in one workspace."""
        if self._work is None or self._work.site.environment == site.environment:
            return None
        before = self._work.site.environment
        differences = "; ".join(map(str, site.environment.differences(before)))
        reason = f"the environment has changed since load_compile_cache(): {differences}"
        remedy = "set such variables before load_compile_cache()"
        changed = Trouble("save_compile_cache()", reason, remedy)
        return CacheResult(OperationStatus.ERROR, troubles=(changed,))

    def _evict(self, site: Site, deployment: Deployment) -> None:
        """Bring the workspace down to its limit, but for what this process used."""
        with self._lock:
            own = self._work.own_use_of(site.workspace) if self._work is not None else None
            log_evicted(evict(site.workspace, deployment.limits, own=own))

    def _work_at(self, site: Site, use: SharedWorkspace) -> None:
        """Let torch use the workspace from here on, protected."""
        with self._lock:
            self._set_variables(site.workspace)
            before = self._work
            if before is not None and before.site == site:
                use.release()
                return
            if before is not None:
                before.end()
            self._work = _Work(site, use)
            self._work.begin()

    def _set_variables(self, workspace: Workspace) -> None:
        users = self.users_environ
        place = str(workspace.inductor)
        if not users.get(INDUCTOR):
            self._variables.set(INDUCTOR, place)
        elif users[INDUCTOR] != place:
            # Not marked as ours: a child process takes it for the user's, and works there too.
            self._variables.put(INDUCTOR, place)
        if _DYNAMIC_THREADS in users:
            return
        if _INDUCTOR_CONFIG in sys.modules:  # which has read it
            LOGGER.info("compile cache: %s", _LATE_FOR_THREADS)
            return
        # Torch's keys contain the thread count: machines with other core counts,
        # and test sessions that fill the same store, would share nothing.
        self._variables.set(_DYNAMIC_THREADS, "1")


class _Work:
    """What is in force while torch uses a workspace.

    Args:
        site: Where the process works.
        use: Its use of the workspace, which this gives back.
    """

    def __init__(self, site: Site, use: SharedWorkspace) -> None:
        self.site = site
        self.usage = UsageLog(site.workspace)
        # File systems note times of a clock that may be some milliseconds behind.
        self._since = time.time_ns() - _CLOCKS_APART
        self._use = use
        self._protection = Protection(site.workspace, _LoggedEvents())
        self._watch = ImportWatch()

    def begin(self) -> None:
        """Protect what is compiled, and note what is used of the workspace."""
        self.usage.start()
        self._protection.attach(self._watch, _guarded)

    def own_use_of(self, workspace: Workspace) -> OwnUse | None:
        """How this process goes on in a workspace; None when it is another's."""
        if workspace != self.site.workspace:
            return None
        return OwnUse(self._use, self._since, self._used)

    def _used(self) -> AbstractSet[str]:
        self.usage.flush()
        return self.usage.marked

    def end(self) -> None:
        """Give torch and the workspace back."""
        self._watch.remove()
        self._protection.undo()
        self.usage.stop()
        self._use.release()


class _LoggedEvents(EventSink):
    """Tells at once what a test session would tell at its end."""

    def add(self, event: CompileEvent) -> None:
        """Log an event."""
        LOGGER.warning("compile cache: vector instructions: %s", event.reason)


def _failed(deployment: Deployment, error: Exception) -> CacheResult:
    found = trouble(deployment.work, error)
    return CacheResult(OperationStatus.ERROR, troubles=(found,), usable=False)


def _guarded(callback: Callback) -> Callable[[], None]:
    """A callback whose trouble stays ours: it runs in the middle of torch's import."""

    def call() -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001  (the cache is never worth an import)
            LOGGER.warning("compile cache: %s", trouble("the protection of cache keys", error))

    return call
