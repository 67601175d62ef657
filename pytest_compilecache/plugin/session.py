"""The test session in one process: when torch is imported, its cache is there.

It is loaded with the plugin, so it stays light: what only compiling needs is loaded with
torch. Nothing here raises into pytest or torch: after an error, all is off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_compilecache.guard import Guard
from pytest_compilecache.import_hook import ImportHook
from pytest_compilecache.patches import Patches, users_environ

if TYPE_CHECKING:
    from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
    from pytest_compilecache.compiling.recorder import Recorder
    from pytest_compilecache.compiling.testrun import TestRun
    from pytest_compilecache.compiling.toolchain import Toolchain
    from pytest_compilecache.process import CompileProcess, Site, Terms
    from pytest_compilecache.results import CacheResult, Trouble
    from pytest_compilecache.session_settings import Settings
    from pytest_compilecache.workspace.evict import Evicted

SHARED = "COMPILECACHE_SESSION"


class CompileSession:
    """The cache in one process of a session.

    Args:
        settings: What was set, or None where nothing was and the defaults hold.
        collect_only: Whether tests are only collected, so that nothing is restored or saved.

    Attributes:
        configured: Whether a setting of ours was given.
        id: The session's name, the same in all its processes.
        worker: Whether this is an xdist worker: it neither saves nor reports.
        started: Whether torch was imported, or is about to be.
        watching: Whether what compiles was imported, or is about to be.
        run: The test that runs now, once torch is there.
        restored: How the restore ended, in whichever process it was.
        saved: How the save ended, if there was one.
        guard: Keeps our errors out of pytest and torch.
        on_torch: Called when torch loads what compiles.
        crashed: What crashed, so that nothing is published, or empty.
    """

    def __init__(self, settings: Settings | None = None, *, collect_only: bool = False) -> None:
        self.configured = settings is not None and bool(settings.origins)
        self.collect_only = collect_only
        self.id = os.urandom(16).hex()
        self.worker = False
        self.started = False
        self.watching = False
        self.run: TestRun | None = None
        self.restored: CacheResult | None = None
        self.saved: CacheResult | None = None
        self.guard = Guard(self.failed)
        self.crashed = ""
        self.on_torch: Callable[[], object] = _nothing
        self._began = time.time_ns()
        self._settings = settings
        self._process: CompileProcess | None = None
        self._recorder: Recorder | None = None
        self._toolchain: Toolchain | None = None
        self._evicted: Evicted | None = None
        self._failures: list[tuple[object, Exception]] = []
        self._paused: CompileRecord | None = None
        self._on_start: Callable[[], object] = _nothing
        self._patches = Patches()
        self._imports = ImportHook()

    def begin(self, on_start: Callable[[], object]) -> None:
        """Wait for torch.

        Args:
            on_start: Called when torch is about to be imported.
        """
        self._on_start = on_start
        shared = _shared_by_parent()
        if shared is not None:
            self.worker, self.id = True, shared
        # A pytest that a test of a worker starts is no worker.
        self._patches.set_private(SHARED, "" if self.worker else f"{self.id} {os.getpid()}")
        if not self.collect_only:
            self._imports.before("torch", partial(self.guard.call, "import torch", self.start))

    @property
    def settings(self) -> Settings:
        """What is in force."""
        if self._settings is None:
            from pytest_compilecache.session_settings import Settings  # noqa: PLC0415

            self._settings = Settings.resolve()
        return self._settings

    @property
    def falls_back(self) -> bool:
        """Whether a setting asks that what plain calls cannot compile is dealt with."""
        return self.configured and self.settings.fallback is not None

    # --- the cache ---------------------------------------------------------------

    @property
    def process(self) -> CompileProcess:
        """The cache in this process."""
        if self._process is None:
            from pytest_compilecache.process import CompileProcess  # noqa: PLC0415

            self._process = CompileProcess(self._find, self._isa_is_lower, self.failed)
        return self._process

    def start(self) -> None:
        """Restore, before torch can look for anything."""
        if self.started or self.guard.off:
            return
        self.started = True
        self._on_start()
        self.restored = self.process.load(self._terms(), self._marker())
        watch = self.guard.bound("the import of Dynamo", self.watch)
        self._imports.before("torch._dynamo", watch)

    def watch(self) -> None:
        """See what torch compiles, from before it loads what compiles."""
        if self.watching or self.guard.off:
            return
        self.watching = True
        from pytest_compilecache.compiling.hooks import HOOKS  # noqa: PLC0415

        for torn in self.restored.torn if self.restored is not None else ():
            if torn.probe:
                self._isa_is_lower(f"a probe library was torn and is healed: {torn.reason}")
        self._patches.add(self.recorder.builds.stop)
        self.recorder.builds.start()
        self._patches.add(HOOKS.join(self))
        self.recorder.begin()
        self.on_torch()

    def site(self) -> Site | None:
        """Where it works, or would, or None where that cannot be found out."""
        try:
            return self.process.locate()
        except Exception as error:  # noqa: BLE001  (fails open)
            self._fail("the environment", error)
            return None

    def _find(self, users: Mapping[str, str]) -> Site:
        from pytest_compilecache.process import INDUCTOR, find_site  # noqa: PLC0415
        from pytest_compilecache.workspace.place import default_root  # noqa: PLC0415

        return find_site(self.settings.dir or default_root(), users, users.get(INDUCTOR) or None)

    def _terms(self) -> Terms:
        from pytest_compilecache.process import Terms  # noqa: PLC0415

        return Terms(
            self.settings.store,
            self.settings.limits,
            read_only=bool(self.unsaved),
            variables=tuple(self._share_of_cores()),
        )

    def _share_of_cores(self) -> list[tuple[str, str]]:
        # Every process starts compilers of its own: as many as there are cores,
        # times the workers, run a CI machine out of memory.
        if not self.worker:
            return []
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        threads = max(1, _usable_cores() // max(1, workers))
        return [("TORCHINDUCTOR_COMPILE_THREADS", str(threads))]

    def _marker(self) -> Path | None:
        """The file by which the session's processes know that one of them restored."""
        site = self.site()
        return site.workspace.state / f"session-{self.id}.json" if site is not None else None

    def is_first_to(self, what: str) -> bool:
        """Whether no other process of the session has done something that is done once."""
        marker = self._marker()
        if marker is None:
            return True
        try:
            marker.with_name(f"{marker.stem}-{what}.json").touch(exist_ok=False)
        except FileExistsError:
            return False
        except OSError:  # done twice is better than not at all
            return True
        return True

    @property
    def unsaved(self) -> str:
        """Why nothing may be saved, or empty."""
        if self.crashed:
            return f"{self.crashed}; what it was making may be broken"
        from pytest_compilecache.save_policy import why_not_saved  # noqa: PLC0415

        return why_not_saved(self.settings.save, users_environ(os.environ))

    def worker_crashed(self, name: str) -> None:
        """Publish nothing that may come from a process that crashed."""
        self.crashed = f"worker {name} crashed"

    def finish(self, *, workers_compiled: bool) -> None:
        """Save what is new, if any process of the session may have compiled; and tidy up."""
        if self.worker or self.collect_only or self.guard.off:
            return
        if not (self.started or workers_compiled):
            return
        self._read_restored()
        site = self.site()
        if site is None or not site.workspace.inductor.is_dir() or not self._may_use(site):
            return
        deadline = time.monotonic() + self.settings.limits.save_seconds
        if self.crashed:
            self.process.crashed(self._began)
        if self.settings.store is not None and not self.unsaved:
            self.saved = self.process.save(self._terms(), deadline)
        self.process.release()
        at_most = self.saved.workspace_bytes if self.saved is not None else None
        self._evicted = self.process.evict(self.settings.limits, at_most, deadline)

    def _may_use(self, site: Site) -> bool:
        # Refused at the start, it was used by torch alone, without our keys.
        if self.restored is not None and not self.restored.usable:
            return False
        try:
            site.workspace.prepare(site.environment.id)
        except Exception as error:  # noqa: BLE001  (fails open)
            self._fail(site.workspace.inductor, error)
            return False
        return True

    def _read_restored(self) -> None:
        from pytest_compilecache.process import read_marker  # noqa: PLC0415

        marker = self._marker()
        if self.restored is None:
            self.restored = read_marker(marker)
        if marker is not None:
            for each in marker.parent.glob(f"{marker.stem}*.json"):
                each.unlink(missing_ok=True)

    def end_test(self) -> None:
        """Leave nothing of the running test in force, and forget it."""
        run, self.run = self.run, None
        if run is not None:
            run.end()

    def end(self) -> None:
        """Give everything in this process back as it was."""
        self._imports.remove()
        self.end_test()
        self._patches.undo()
        if self._process is not None:
            self._process.end()

    # --- what the compiler does --------------------------------------------------

    @property
    def recorder(self) -> Recorder:
        """Records what the compiler does in this process."""
        if self._recorder is None:
            from pytest_compilecache.compiling.builds import BuildCounter  # noqa: PLC0415
            from pytest_compilecache.compiling.recorder import Recorder  # noqa: PLC0415
            from pytest_compilecache.torchhooks.cache_folders import (  # noqa: PLC0415
                artifact_folders,
            )

            builds = BuildCounter(artifact_folders, self.guard.bound)
            self._recorder = Recorder(builds=builds)
        return self._recorder

    @property
    def toolchain(self) -> Toolchain:
        """What is known of the compilers of this machine."""
        if self._toolchain is None:
            from pytest_compilecache.compiling.toolchain import Toolchain  # noqa: PLC0415

            self._toolchain = Toolchain(self.settings.compiler_seconds)
        return self._toolchain

    def drain(self) -> CompileRecord | None:
        """What the compiler did since the last call, but in sessions inside of this one."""
        if not self.watching:
            return None
        paused, self._paused = self._paused, None
        record = self.recorder.drain()
        if record is not None:
            self.process.flush()  # a session that is killed has noted what it used so far
        if paused is None or record is None:
            return paused or record
        return paused + record

    def add(self, event: CompileEvent) -> None:
        """Note an event."""
        self.recorder.sink.add(event)

    def bypassed(self, reason: str) -> None:
        """Note why torch did not cache a graph."""
        self.recorder.bypasses.append(reason)

    def set_aside(self, library: Path) -> bool:
        """Move a cached library that does not load out of torch's way."""
        from pytest_compilecache.workspace.heal import set_aside_unloadable  # noqa: PLC0415

        site = self.process.site
        return site is not None and set_aside_unloadable(site.workspace, library)

    def read_metrics(self) -> None:
        """Read what torch measured of a frame, before torch forgets it."""
        self.recorder.read_metrics()

    def pause(self) -> None:
        """Another session begins inside of this one: what comes now is not its own."""
        self._paused = self.drain()

    def go_on(self) -> None:
        """The session inside has ended."""
        self.recorder.begin()

    def _isa_is_lower(self, sentence: str) -> None:
        from pytest_compilecache.compiling.events import CompileEvent  # noqa: PLC0415

        self.add(CompileEvent("isa", reason=sentence))

    # --- what went wrong ---------------------------------------------------------

    def failed(self, hook: str, error: Exception) -> None:
        """A hook of ours failed: from here on, this process is as without us."""
        self.guard.off = True
        self._fail(f"the hook {hook}", error)
        self.end()

    def _fail(self, subject: object, error: Exception) -> None:
        if (subject, str(error)) not in {(known, str(each)) for known, each in self._failures}:
            self._failures.append((subject, error))

    @property
    def has_failures(self) -> bool:
        """Whether anything went wrong in our own code."""
        return bool(self._failures)

    def troubles(self) -> tuple[Trouble, ...]:
        """What went wrong, each only once."""
        from pytest_compilecache.results import trouble  # noqa: PLC0415

        found = [trouble(subject, error) for subject, error in self._failures]
        for result in (self.restored, self.saved):
            found += result.troubles if result is not None else ()
        if self._evicted is not None:
            found += [trouble(each.subject, each) for each in self._evicted.troubles]
        if not self.worker and self._has_no_store():
            found.append(_no_store(str(self.settings.store)))
        return tuple(dict.fromkeys(found))

    def _has_no_store(self) -> bool:
        store = self.settings.store
        restored = self.restored
        if store is None or restored is None or not restored.usable or self.saved is not None:
            return False
        from pytest_compilecache.errors import CompileCacheError  # noqa: PLC0415
        from pytest_compilecache.store import folder_of  # noqa: PLC0415

        try:
            return not folder_of(store).exists()
        except CompileCacheError:
            return False  # the restore reported it


def _no_store(store: str) -> Trouble:
    from pytest_compilecache.results import Trouble  # noqa: PLC0415

    remedy = "check its path, or let a session save to it"
    return Trouble(store, "the store does not exist", remedy)


def _nothing() -> None:
    """Nothing waits for torch."""


def _shared_by_parent() -> str | None:
    """The id of the controller's session when this is one of its workers, else None."""
    words = os.environ.get(SHARED, "").split()
    if "PYTEST_XDIST_WORKER" not in os.environ or len(words) != len(("id", "process")):
        return None
    # A pytest that a test of the controller starts inherits the variables as well.
    return words[0] if words[1] == str(os.getppid()) else None


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
