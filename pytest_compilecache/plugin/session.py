"""One process's part in a session: what happens when torch is imported, and at the end.

It knows nothing of pytest. Nothing is computed for torch before torch is
imported but the environment, and nothing raises: trouble is noted for the summary.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble, restore, save
from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import CompileEvent
from pytest_compilecache.compiling.imports import ImportWatch
from pytest_compilecache.compiling.isa import IsaTag
from pytest_compilecache.compiling.limits import RecompileBudget
from pytest_compilecache.compiling.recorder import Recorder
from pytest_compilecache.compiling.variables import Variables, users_environ
from pytest_compilecache.environment import Environment, detect_environment
from pytest_compilecache.settings import Settings
from pytest_compilecache.trust import Trust, judge_build
from pytest_compilecache.workspace import Workspace, choose_workspace, default_root, heal

SHARED = "COMPILECACHE_SESSION"
_WAIT_FOR_RESTORE_SECONDS = 600.0
_OLD_SECONDS = 86_400.0


@dataclass(slots=True)
class CompileSession:
    """The cache in one process of a session.

    Attributes:
        settings: What is in force.
        environment: The environment, or None when it could not be told.
        workspace: The workspace of that environment.
        id: The session's name, the same in all its processes.
        worker: Whether this is an xdist worker: it neither saves nor reports.
        restored: How the restore ended, once torch is imported.
        saved: How the save ended, if there was one.
        troubles: What went wrong in this process.
    """

    settings: Settings
    environment: Environment | None = None
    workspace: Workspace | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    worker: bool = False
    restored: CacheResult | None = None
    saved: CacheResult | None = None
    troubles: list[Trouble] = field(default_factory=list)
    trust: Trust = field(default_factory=lambda: Trust(may_save=True))
    variables: Variables = field(default_factory=Variables)
    recorder: Recorder = field(default_factory=Recorder)
    budget: RecompileBudget = field(default_factory=RecompileBudget)
    watch: ImportWatch = field(default_factory=ImportWatch)
    torch_seen: bool = False
    _undo: list[private.Undo] = field(default_factory=list)

    @classmethod
    def begin(cls, settings: Settings) -> CompileSession:
        """Find out the environment, set the variables, and wait for torch."""
        session = cls(settings)
        environ = users_environ(os.environ)
        shared = _shared_by_parent()
        try:
            if shared is not None:
                session.worker, session.id = True, shared["id"]
                session.environment = Environment.from_json(shared["environment"])
            else:
                session.environment = detect_environment(environ)
                session.trust = judge_build(environ)
            session._place(session.environment, environ)
        except Exception as error:  # noqa: BLE001  (the cache is never worth a session)
            session._note("the environment", error)
            session.environment = session.workspace = None
        session._watch_torch()
        return session

    def _place(self, environment: Environment, environ: Mapping[str, str]) -> None:
        root = self.settings.dir or default_root()
        self.workspace = choose_workspace(
            root, environment.id, environ.get("TORCHINDUCTOR_CACHE_DIR")
        )
        self.variables.set("TORCHINDUCTOR_CACHE_DIR", str(self.workspace.inductor))
        if self.settings.store and "TORCHINDUCTOR_CPP_DYNAMIC_THREADS" not in environ:
            # Torch's keys contain the thread count: machines with other core
            # counts would miss everything.
            self.variables.set("TORCHINDUCTOR_CPP_DYNAMIC_THREADS", "1")
        if self.worker:
            self._share_cores(environ)
        else:
            facts = {"id": self.id, "pid": os.getpid(), "environment": environment.to_json()}
            self.variables.put(SHARED, json.dumps(facts))

    def _share_cores(self, environ: Mapping[str, str]) -> None:
        # Every process starts compilers of its own: as many as there are cores,
        # times the workers, run a CI machine out of memory.
        workers = int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        if "TORCHINDUCTOR_COMPILE_THREADS" not in environ:
            threads = max(1, _usable_cores() // max(1, workers))
            self.variables.set("TORCHINDUCTOR_COMPILE_THREADS", str(threads))

    def _watch_torch(self) -> None:
        self.watch.before("torch", self._before_torch)
        self.watch.after(private.CODECACHE, self._after_codecache)
        self.watch.after(private.DYNAMO_UTILS, self.recorder.widen)
        for module, name in (
            (private.CODECACHE, "BypassFxGraphCache"),
            (private.AUTOGRAD_CACHE, "BypassAOTAutogradCache"),
        ):
            self.watch.after(
                module, lambda module=module, name=name: self._hear_bypasses(module, name)
            )  # type: ignore[misc]
        listener = private.LimitListener(self._note_limit)
        self._undo.append(listener.attach())

    def _hear_bypasses(self, module: str, name: str) -> None:
        self._undo.append(private.note_bypasses(module, name, self.recorder.bypasses.append))

    def _note_limit(self, function: str, reason: str) -> None:
        self.recorder.sink.add(CompileEvent("limit", function=function, reason=reason))

    def _before_torch(self) -> None:
        """Restore, once in a session, before torch can look for anything."""
        self.torch_seen = True
        if self.workspace is None or self.environment is None:
            return
        try:
            self.restored = self._restore_once(self.workspace, self.environment)
        except Exception as error:  # noqa: BLE001  (fails open)
            self._note("the restore", error)
        if self.restored is not None and not self.restored.usable:
            # Torch would fail in a folder that it cannot use; its own default works.
            self.variables.take_back("TORCHINDUCTOR_CACHE_DIR")
            self.workspace = None

    def _restore_once(self, workspace: Workspace, environment: Environment) -> CacheResult:
        with _lock(workspace):
            marker = self._marker(workspace)
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                return CacheResult.from_mapping(json.loads(marker.read_bytes()))
            result = restore(workspace, environment, self.settings.store)
            for torn in result.torn:
                if torn.probe:
                    reason = f"a probe library was torn and is healed: {torn.reason}"
                    self.recorder.sink.add(CompileEvent("isa", reason=reason))
            with contextlib.suppress(OSError):
                _remove_old(marker.parent)
                marker.write_text(json.dumps(result.to_mapping()), encoding="utf-8")
            return result

    def _after_codecache(self) -> None:
        """Protect and count what is compiled from here on."""
        self.recorder.builds.start()
        self._undo.append(self.recorder.builds.stop)
        if self.workspace is None:
            return
        workspace = self.workspace
        self._undo.append(private.redirect_headers(workspace.headers))
        tag = IsaTag(
            self.recorder.sink, lambda: bool(heal(workspace).torn), workspace.state / "isa.json"
        )
        undo = private.tag_cache_keys(tag)
        if undo is not None:
            self._undo.append(undo)

    def read_restored(self) -> None:
        """Learn how the restore ended when another process of the session did it."""
        if self.restored is None and self.workspace is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                raw = json.loads(self._marker(self.workspace).read_bytes())
                self.restored = CacheResult.from_mapping(raw)

    def finish(self) -> None:
        """Save what is new, if this process is the one to do it."""
        if self.worker:
            return
        self.read_restored()
        workspace, environment, store = self.workspace, self.environment, self.settings.store
        if workspace is None or environment is None or store is None:
            return
        if self.may_save and workspace.inductor.is_dir():
            self.saved = save(workspace, environment, store)
        with contextlib.suppress(OSError):
            self._marker(workspace).unlink(missing_ok=True)

    @property
    def may_save(self) -> bool:
        """Whether the settings, and in doubt the build, allow a save."""
        if self.settings.save == "auto":
            return self.trust.may_save
        return self.settings.save == "always"

    def all_troubles(self) -> tuple[Trouble, ...]:
        """What went wrong, each only once."""
        results = (result for result in (self.restored, self.saved) if result is not None)
        found = (*self.troubles, *(trouble for result in results for trouble in result.troubles))
        return tuple(dict.fromkeys(found))

    def end(self) -> None:
        """Give everything in this process back as it was."""
        self.watch.remove()
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self.budget.restore()
        self.variables.restore()

    def _marker(self, workspace: Workspace) -> Path:
        return workspace.state / f"session-{self.id}.json"

    def _note(self, subject: str, error: Exception) -> None:
        self.troubles.append(
            Trouble(
                getattr(error, "subject", subject),
                getattr(error, "reason", f"{type(error).__name__}: {error}"),
                getattr(error, "remedy", ""),
            )
        )


@contextlib.contextmanager
def _lock(workspace: Workspace) -> Iterator[None]:
    """Let one process restore while the others of the session wait for it."""
    from filelock import FileLock  # noqa: PLC0415  (only sessions that import torch pay)

    lock = None
    with contextlib.suppress(OSError, TimeoutError):
        workspace.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(workspace.state / "restore.lock")
        lock.acquire(timeout=_WAIT_FOR_RESTORE_SECONDS)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _remove_old(state: Path) -> None:
    """Remove the marks of sessions that were killed."""
    for marker in state.glob("session-*.json"):
        if time.time() - marker.stat().st_mtime > _OLD_SECONDS:
            marker.unlink(missing_ok=True)


def _shared_by_parent() -> dict[str, str] | None:
    """The session of the controller when this is one of its workers, else None."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    try:
        facts = json.loads(os.environ[SHARED])
    except (KeyError, ValueError):
        return None
    # A pytest that a worker's test starts inherits the variables as well.
    return facts if facts.get("pid") == os.getppid() else None


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


__all__ = ["CompileSession", "OperationStatus"]
