"""One process that compiles: its cache is found, restored, protected, saved and given back.

Test sessions, the documented calls and the commands around a server all take part through
it. It imports neither pytest nor torch: hooks wait until torch is imported. What goes wrong
in the cache is in the results; nothing is raised.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_compilecache.environment import Environment, detect_environment
from pytest_compilecache.limits import Limits
from pytest_compilecache.patches import Patches, users_environ
from pytest_compilecache.results import CacheResult, OperationStatus, Trouble, trouble
from pytest_compilecache.workspace.place import Workspace, choose_workspace
from pytest_compilecache.workspace.sharing import SharedWorkspace

if TYPE_CHECKING:
    from pytest_compilecache.guard import Guard
    from pytest_compilecache.import_hook import ImportHook
    from pytest_compilecache.workspace.evict import Evicted
    from pytest_compilecache.workspace.usage import UsageLog

INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"
DYNAMIC_THREADS = "TORCHINDUCTOR_CPP_DYNAMIC_THREADS"

_INDUCTOR_CONFIG = "torch._inductor.config"
# All that compiles imports it first; Inductor does.
_DYNAMO = "torch._dynamo"
_CACHE_FOLDERS = "torch._inductor.runtime.cache_dir_utils"
_CRASHES = "crashes.json"
_CLOCKS_APART = 1_000_000_000
_OLD_SECONDS = 86_400.0
_MAX_CRASHES = 100


@dataclass(frozen=True, slots=True)
class Site:
    """Where a process works.

    Attributes:
        environment: What decides whether artifacts may be used here.
        workspace: The folders that torch reads and writes.
    """

    environment: Environment
    workspace: Workspace

    @property
    def unshared(self) -> str:
        """Why nothing is restored there or saved from there, or empty."""
        return self.workspace.unshared

    @property
    def entries(self) -> str:
        """The folder of the protected entries, below torch's."""
        # In a folder that another environment filled, its entries must not be found.
        suffix = f"-{self.environment.id.rpartition('-')[2]}" if self.unshared else ""
        return f"guarded{suffix}"


Find = Callable[[Mapping[str, str]], Site]
"""Finds the site, from the variables of the user."""


def find_site(root: Path, users: Mapping[str, str], named: str | None) -> Site:
    """The site of this process.

    Args:
        root: The folder of all workspaces.
        users: The variables of the user.
        named: The folder for artifacts that the user named. It is followed, whatever lies in
            it; artifacts of another environment are neither used nor saved.

    Raises:
        CompileCacheError: The environment is not known.
        OSError: A file that decides it cannot be read.
    """
    environment = detect_environment(users, compiler_memo=root / "compiler.json")
    return Site(environment, choose_workspace(root, environment.id, named))


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a process uses its cache.

    Attributes:
        store: The store, or None where only the workspace is used.
        limits: What may be taken.
        read_only: Whether the store is left as it is.
        wait_seconds: How long to wait for another process that restores.
        most_seconds: How long a load, a save or an eviction may take; a store may hang.
        variables: Further variables to set where the user does not.
    """

    store: str | None
    limits: Limits
    read_only: bool = False
    wait_seconds: float = 10.0
    most_seconds: float = 150.0
    variables: tuple[tuple[str, str], ...] = ()


class CompileProcess:
    """The cache in one process.

    Args:
        find: Finds where it works.
        report: Takes a sentence where torch picks lower vector instructions than before.
        failed: Called when a hook in torch fails; the hooks are off then.
        environ: The variables of the process, which loading changes.

    Attributes:
        site: Where it works, once it was loaded and can be used.
        patches: What it changed in its process.
    """

    def __init__(
        self,
        find: Find,
        report: Callable[[str], object],
        failed: Callable[[str, Exception], object],
        environ: MutableMapping[str, str] | None = None,
    ) -> None:
        self.environ: MutableMapping[str, str] = os.environ if environ is None else environ
        self.site: Site | None = None
        self.patches = Patches(self.environ)
        self._find = find
        self._report = report
        self._failed = failed
        self._found: tuple[dict[str, str], Site] | None = None
        self._use: SharedWorkspace | None = None
        self._usage: UsageLog | None = None
        self._since = time.time_ns()
        self._lock = threading.RLock()

    @property
    def users_environ(self) -> dict[str, str]:
        """The variables without those that we or torch set, here or in a parent process."""
        users = users_environ(self.environ)
        # Where it is unset, torch sets it itself when it first needs the folder.
        default = getattr(sys.modules.get(_CACHE_FOLDERS), "default_cache_dir", None)
        if default is not None and users.get(INDUCTOR) == default():
            del users[INDUCTOR]
        return users

    def locate(self) -> Site:
        """Where it works, or would: by the variables as they are now.

        Raises:
            CompileCacheError: The environment is not known, or there is no place to trust.
            OSError: The same.
        """
        if self.site is not None:
            return self.site
        users = self.users_environ
        if self._found is None or self._found[0] != users:
            self._found = users, self._find(users)
        return self._found[1]

    # --- loading -----------------------------------------------------------------

    def load(self, terms: Terms, marker: Path | None = None) -> CacheResult:
        """Bring what the workspace lacks from the store, and let torch work there.

        Args:
            terms: How.
            marker: The file by which processes of one session know that one of them restored.
        """
        started = time.perf_counter()
        with self._lock:
            try:
                result = self._load(terms, marker)
            except Exception as error:  # noqa: BLE001  (fails open)
                result = failed(terms.store or "the compile cache", error)
        return replace(result, seconds=time.perf_counter() - started)

    def _load(self, terms: Terms, marker: Path | None) -> CacheResult:
        previous, self.site = self.site, None
        try:
            site = self.locate()
        finally:
            self.site = previous
        # For the rest of this process's life: eviction would take kernels from under it.
        use = SharedWorkspace(site.workspace, site.environment.id)
        try:
            use.acquire()
            result = self._in_time("load", terms, lambda: self._restore_once(site, terms, marker))
            if result is None:  # the workspace may be in order all the same
                there = site.workspace.inductor.is_dir()
                result = _too_long("load", terms, usable=there)
        except BaseException:
            use.release()
            raise
        if not result.usable or (self._use is not None and previous == site):
            use.release()
        else:
            self.end()
            self._use = use
            self._work_at(site, terms)
        return result

    def _restore_once(self, site: Site, terms: Terms, marker: Path | None) -> CacheResult:
        from pytest_compilecache.workspace.sharing import restoring_turn  # noqa: PLC0415

        site.workspace.prepare(site.environment.id)
        with restoring_turn(site.workspace, terms.wait_seconds), self._unheard():
            known = read_marker(marker)
            if known is not None:
                return known
            result = self._restore(site, terms)
            if marker is not None:
                with contextlib.suppress(OSError):  # then others restore once more
                    _remove_old(site.workspace.state)
                    marker.write_text(json.dumps(result.to_mapping()), encoding="utf-8")
        return result

    def _restore(self, site: Site, terms: Terms) -> CacheResult:
        if terms.store is not None and site.unshared:
            return CacheResult(OperationStatus.ERROR, troubles=(_unshared(site),))
        if terms.store is None:
            from pytest_compilecache.workspace.heal import heal  # noqa: PLC0415

            healed = heal(site.workspace)
            status = OperationStatus.DOES_NOT_EXIST
            return CacheResult(status, torn=healed.torn, killed=healed.killed)
        from pytest_compilecache.cache import restore  # noqa: PLC0415

        return restore(
            site.workspace,
            site.environment,
            terms.store,
            terms.limits,
            read_only=terms.read_only,
        )

    def _work_at(self, site: Site, terms: Terms) -> None:
        """Let torch use the workspace from here on, protected once it loads what compiles."""
        from pytest_compilecache.guard import Guard  # noqa: PLC0415
        from pytest_compilecache.import_hook import ImportHook  # noqa: PLC0415
        from pytest_compilecache.workspace.usage import UsageLog  # noqa: PLC0415

        self.site = site
        # File systems note times of a clock that may be some milliseconds behind.
        self._since = time.time_ns() - _CLOCKS_APART
        for name, value in self.variables(site, terms):
            self.patches.setenv(name, value)
        self._usage = UsageLog(site.workspace)
        self._usage.start()
        self.patches.add(self._usage.stop)
        imports = ImportHook()
        self.patches.add(imports.remove)
        guard = Guard(self._failed)
        # The last: where it fails, all of this is undone.
        protect = guard.bound("the protection of cache keys", self._protect)
        imports.before(_DYNAMO, functools.partial(protect, site, imports, guard))

    def _protect(self, site: Site, imports: ImportHook, guard: Guard) -> None:
        """Protect cache keys, and share precompiled headers."""
        from pytest_compilecache.compiling.hooks import HOOKS, KeyUser  # noqa: PLC0415
        from pytest_compilecache.torchhooks.cache_folders import redirect_headers  # noqa: PLC0415
        from pytest_compilecache.torchhooks.cache_keys import IsaPart  # noqa: PLC0415
        from pytest_compilecache.torchhooks.names import CODECACHE  # noqa: PLC0415

        workspace = site.workspace
        part = IsaPart(self._report, lambda: _heal(workspace), workspace.state / "isa.json")
        self.patches.add(HOOKS.protect_keys(KeyUser(part, site.entries, self._failed)))
        redirect = guard.bound("the headers", redirect_headers)
        imports.after(CODECACHE, functools.partial(redirect, self.patches, workspace.headers))

    def variables(self, site: Site, terms: Terms) -> Iterator[tuple[str, str]]:
        """The variables to set; never one that the user has set."""
        users = self.users_environ
        if not users.get(INDUCTOR):
            yield INDUCTOR, str(site.workspace.inductor)
        # Torch's keys contain the thread count: machines with other core counts would share
        # nothing. Once Inductor is imported, it has read the variable.
        late = _INDUCTOR_CONFIG in sys.modules
        if terms.store is not None and DYNAMIC_THREADS not in users and not late:
            yield DYNAMIC_THREADS, "1"
        for name, value in terms.variables:
            if not users.get(name):
                yield name, value

    # --- saving ------------------------------------------------------------------

    def flush(self) -> None:
        """Note on the artifacts which of them this process used so far."""
        if self._usage is not None:
            self._usage.flush()

    def crashed(self, since: int) -> None:
        """Remember that what was made here since a time must not be published.

        A process died of it, or while it made it; machine code of which a process dies must
        not reach others.

        Args:
            since: The time, in nanoseconds since 1970.
        """
        site = self.locate()
        known = list(_crashes(site.workspace))[-_MAX_CRASHES:]
        record = [*known, (since - _CLOCKS_APART, time.time_ns() + _CLOCKS_APART)]
        with contextlib.suppress(OSError):
            (site.workspace.state / _CRASHES).write_text(json.dumps(record), encoding="utf-8")

    def save(self, terms: Terms, deadline: float | None = None) -> CacheResult:
        """Add what is new in the workspace to the store.

        Args:
            terms: How.
            deadline: When to stop, by ``time.monotonic``; by default in ``save_seconds``.
        """
        started = time.perf_counter()
        if deadline is None:
            deadline = time.monotonic() + terms.limits.save_seconds
        try:
            result = self._in_time("save", terms, lambda: self._save(terms, deadline))
            if result is None:
                result = _too_long("save", terms)
        except Exception as error:  # noqa: BLE001  (fails open)
            result = failed(terms.store or "the compile cache", error)
        return replace(result, seconds=time.perf_counter() - started)

    def _save(self, terms: Terms, deadline: float) -> CacheResult:
        from pytest_compilecache.cache import save  # noqa: PLC0415

        site = self.locate()
        if terms.store is None:
            return CacheResult(OperationStatus.SKIPPED)
        if site.unshared:  # what was compiled there is new, and is not saved
            return CacheResult(OperationStatus.ERROR, troubles=(_unshared(site),))
        self.flush()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._unheard())
            if self._use is None:
                stack.enter_context(SharedWorkspace(site.workspace, site.environment.id))
            return save(
                site.workspace,
                site.environment,
                terms.store,
                terms.limits,
                deadline=deadline,
                unpublished=tuple(_crashes(site.workspace)),
            )

    def evict(
        self, limits: Limits, at_most: int | None = None, deadline: float | None = None
    ) -> Evicted | None:
        """Bring the workspace down to its limit, but for what this process used.

        Args:
            limits: What the workspace may take.
            at_most: Bytes that it holds at most, as a save has just found.
            deadline: When to delete no more, by ``time.monotonic``.

        Raises:
            CompileCacheError: Where it works is not known.
            OSError: The same.
        """
        from pytest_compilecache.workspace.evict import OwnUse, evict  # noqa: PLC0415

        with self._lock:
            site = self.locate()
            if not site.workspace.inductor.is_dir():
                return None
            own = OwnUse(self._use, self._since, self._used) if self._use is not None else None
            return evict(site.workspace, limits, own=own, at_most=at_most, deadline=deadline)

    def release(self) -> None:
        """Use the workspace no longer, so that it may be evicted from."""
        if self._use is not None:
            self._use.release()
            self._use = None

    def end(self) -> None:
        """Give torch, the variables and the workspace back as they were."""
        with self._lock:
            self.patches.undo()
            self.release()
            self._usage = None
            self.site = None

    def _in_time(
        self, what: str, terms: Terms, function: Callable[[], CacheResult]
    ) -> CacheResult | None:
        """What a function returns, or None when it takes too long.

        It then goes on beside, and ends with this process: what it writes is whole or not there.
        """
        ended: list[CacheResult | BaseException] = []

        def run() -> None:
            try:
                ended.append(function())
            except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
                ended.append(error)

        thread = threading.Thread(target=run, name=f"compilecache-{what}", daemon=True)
        thread.start()
        thread.join(terms.most_seconds)
        if not ended:
            return None
        if isinstance(ended[0], BaseException):
            raise ended[0]
        return ended[0]

    def _used(self) -> AbstractSet[str]:
        self.flush()
        return self._usage.marked if self._usage is not None else frozenset()

    def _unheard(self) -> contextlib.AbstractContextManager[None]:
        """While this thread reads artifacts without using them."""
        usage = self._usage
        return usage.ignoring_this_thread() if usage is not None else contextlib.nullcontext()


def failed(subject: object, error: Exception) -> CacheResult:
    """The result of what an error ended."""
    found = trouble(subject, error)
    return CacheResult(OperationStatus.ERROR, troubles=(found,), usable=False)


def _unshared(site: Site) -> Trouble:
    return Trouble(INDUCTOR, site.unshared, f"empty the folder once, or unset {INDUCTOR}")


def _too_long(what: str, terms: Terms, *, usable: bool = False) -> CacheResult:
    reason = f"the {what} has not ended after {terms.most_seconds:g} s, so it is not waited for"
    remedy = "see whether the store or its file system hangs"
    late = Trouble(terms.store or "the workspace", reason, remedy)
    return CacheResult(OperationStatus.ERROR, troubles=(late,), usable=usable)


def read_marker(marker: Path | None) -> CacheResult | None:
    """How the restore ended that another process of the session made, or None."""
    if marker is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return CacheResult.from_mapping(json.loads(marker.read_bytes()))
    return None


def _remove_old(state: Path) -> None:
    """Remove the markers of sessions that were killed."""
    for marker in state.glob("session-*.json"):
        with contextlib.suppress(FileNotFoundError):  # another process does the same
            if time.time() - marker.stat().st_mtime > _OLD_SECONDS:
                marker.unlink(missing_ok=True)


def _heal(workspace: Workspace) -> bool:
    from pytest_compilecache.workspace.heal import heal  # noqa: PLC0415

    return bool(heal(workspace).torn)


def _crashes(workspace: Workspace) -> Iterator[tuple[int, int]]:
    """The times, in nanoseconds, in which a process crashed that worked here."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        found: Sequence[Sequence[int]] = json.loads((workspace.state / _CRASHES).read_bytes())
        for first, last in found:
            yield int(first), int(last)
