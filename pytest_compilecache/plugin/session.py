"""One process's part in a session until torch is imported: the environment and its variables.

It is loaded with the plugin, so it stays light: no dataclass, nothing that only
compiling needs. It never raises; trouble is kept for the summary.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_compilecache.compiling.imports import Callback, ImportWatch
from pytest_compilecache.compiling.variables import Variables, users_environ
from pytest_compilecache.environment import Environment, detect_environment
from pytest_compilecache.settings import Settings
from pytest_compilecache.workspace.place import Workspace, choose_workspace, default_root

if TYPE_CHECKING:
    from pytest_compilecache.plugin.engine import Engine

SHARED = "COMPILECACHE_SESSION"


class CompileSession:
    """The cache in one process of a session.

    Attributes:
        settings: What is in force.
        id: The session's name, the same in all its processes.
        worker: Whether this is an xdist worker: it neither saves nor reports.
        environment: The environment, or None when it could not be told.
        workspace: The workspace of that environment, or None when there is none to use.
        engine: What works once torch is imported; None before.
        failures: What went wrong before that, each with what it was about.
        variables: The variables that were set.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = uuid.uuid4().hex
        self.worker = False
        self.environment: Environment | None = None
        self.workspace: Workspace | None = None
        self.engine: Engine | None = None
        self.failures: list[tuple[str, Exception]] = []
        self.variables = Variables()
        self.users_environ: Mapping[str, str] = {}
        self._watch = ImportWatch()

    @classmethod
    def begin(cls, settings: Settings) -> CompileSession:
        """Find out the environment, set the variables, and wait for torch."""
        session = cls(settings)
        session.users_environ = environ = users_environ(os.environ)
        try:
            session._detect(environ)
            session._place(environ)
        except Exception as error:  # noqa: BLE001  (the cache is never worth a session)
            session.failures.append(("the environment", error))
            session.environment = session.workspace = None
        session._watch.before("torch", session._guarded(session._before_torch))
        return session

    def _before_torch(self) -> None:
        self.start_engine()

    def start_engine(self) -> Engine:
        """Load what compiling needs, and restore, before torch can look for anything."""
        if self.engine is None:
            from pytest_compilecache.plugin.engine import Engine  # noqa: PLC0415

            self.engine = Engine(self)
            self.engine.start(self._watch, self._guarded)
        return self.engine

    def _guarded(self, callback: Callback) -> Callback:
        """A callback whose trouble stays ours: it runs in the middle of torch's import."""

        def call() -> None:
            try:
                callback()
            except Exception as error:  # noqa: BLE001  (the cache is never worth an import)
                self.failures.append((f"the hook {getattr(callback, '__name__', callback)}", error))

        return call

    @property
    def marker(self) -> Path | None:
        """The file by which the session's processes know that one of them restored."""
        return self.workspace.state / f"session-{self.id}.json" if self.workspace else None

    def finish(self) -> None:
        """Save what is new, if any process of the session may have compiled."""
        seen_elsewhere = self.marker is not None and self.marker.exists()
        if not self.worker and (self.engine is not None or seen_elsewhere):
            if self.engine is None:
                from pytest_compilecache.plugin.engine import Engine  # noqa: PLC0415

                self.engine = Engine(self)
            self.engine.finish()

    def end(self) -> None:
        """Give everything in this process back as it was."""
        self._watch.remove()
        if self.engine is not None:
            self.engine.end()
        self.variables.restore()

    def _detect(self, environ: Mapping[str, str]) -> None:
        shared = _shared_by_parent()
        if shared is not None:
            self.worker, self.id = True, shared["id"]
            self.environment = Environment.from_json(shared["environment"])
        else:
            memo = self._root() / "compiler.json"
            self.environment = detect_environment(environ, compiler_memo=memo)

    def _place(self, environ: Mapping[str, str]) -> None:
        environment = self.environment
        if environment is None:
            return
        self.workspace = choose_workspace(
            self._root(), environment.id, environ.get("TORCHINDUCTOR_CACHE_DIR")
        )
        self.variables.set("TORCHINDUCTOR_CACHE_DIR", str(self.workspace.inductor))
        if self.settings.store and "TORCHINDUCTOR_CPP_DYNAMIC_THREADS" not in environ:
            # Torch's keys contain the thread count: machines with other core
            # counts would miss everything.
            self.variables.set("TORCHINDUCTOR_CPP_DYNAMIC_THREADS", "1")
        if self.worker:
            self._share_cores(environ)
            # A pytest that a test of this worker starts is no worker.
            self.variables.put(SHARED, "")
        else:
            facts = {"id": self.id, "pid": os.getpid(), "environment": environment.to_json()}
            self.variables.put(SHARED, json.dumps(facts))

    def _share_cores(self, environ: Mapping[str, str]) -> None:
        # Every process starts compilers of its own: as many as there are cores,
        # times the workers, run a CI machine out of memory.
        if "TORCHINDUCTOR_COMPILE_THREADS" not in environ:
            workers = int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
            threads = max(1, _usable_cores() // max(1, workers))
            self.variables.set("TORCHINDUCTOR_COMPILE_THREADS", str(threads))

    def _root(self) -> Path:
        return self.settings.dir or default_root()


def _shared_by_parent() -> dict[str, str] | None:
    """The session of the controller when this is one of its workers, else None."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return None
    try:
        facts = json.loads(os.environ[SHARED])
    except (KeyError, ValueError):
        return None
    # A pytest that a test of the controller starts inherits the variables as well.
    return facts if facts.get("pid") == os.getppid() else None


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
