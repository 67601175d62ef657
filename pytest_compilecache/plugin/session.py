"""One process's part in a session until torch is imported: the environment and its variables.

It is loaded with the plugin, so it stays light: no dataclass, nothing that only
compiling needs. Where no setting of ours is given, even the environment waits for
torch. It never raises; trouble is kept for the summary.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_compilecache.imports import Callback, ImportWatch
from pytest_compilecache.variables import Variables, users_environ

if TYPE_CHECKING:
    from pytest_compilecache.compiling.failures import Failure
    from pytest_compilecache.environment import Environment
    from pytest_compilecache.plugin.engine import Engine
    from pytest_compilecache.session_settings import Settings
    from pytest_compilecache.workspace.place import Workspace

SHARED = "COMPILECACHE_SESSION"


class CompileSession:
    """The cache in one process of a session.

    Attributes:
        configured: Whether anybody gave a setting of ours.
        id: The session's name, the same in all its processes.
        worker: Whether this is an xdist worker: it neither saves nor reports.
        environment: The environment, or None when it could not be told.
        workspace: The workspace of that environment, or None when there is none to use.
        engine: What works once torch is imported; None before.
        failures: What went wrong before that, each with what it was about.
        variables: The variables that were set.
        rule: Judges failures to compile; None leaves them be.
        eager: Whether what runs now runs eager, because the person asked for it.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.configured = settings is not None and bool(settings.origins)
        self._settings = settings
        self.id = os.urandom(16).hex()
        self.worker = False
        self.environment: Environment | None = None
        self.workspace: Workspace | None = None
        self.engine: Engine | None = None
        self.failures: list[tuple[str, Exception]] = []
        self.variables = Variables()
        self.users_environ: Mapping[str, str] = {}
        self.rule: Callable[[Failure], None] | None = None
        self.eager = False
        self._located = False
        self._on_engine: Callable[[], None] = _nothing
        self._watch = ImportWatch()

    def begin(self, on_engine: Callable[[], None]) -> None:
        """Wait for torch; look at the machine at once only where a setting of ours is given.

        Args:
            on_engine: Called when the engine is about to start.
        """
        self._on_engine = on_engine
        self.users_environ = users_environ(os.environ)
        self._join()
        if self.configured:
            self.locate()
        self._watch.before("torch", self._guarded(self._before_torch))

    @property
    def settings(self) -> Settings:
        """What is in force."""
        if self._settings is None:
            from pytest_compilecache.session_settings import Settings  # noqa: PLC0415

            self._settings = Settings.resolve()
        return self._settings

    @property
    def guards_plain_calls(self) -> bool:
        """Whether a person asked that what plain calls cannot compile runs eager."""
        return self.configured and self.settings.fallback is not None

    def locate(self) -> None:
        """Find out the environment and its workspace, and set the variables, once."""
        if self._located:
            return
        self._located = True
        try:
            self._detect(self.users_environ)
            self._place(self.users_environ)
        except Exception as error:  # noqa: BLE001  (the cache is never worth a session)
            self.failures.append(("the environment", error))
            self.environment = self.workspace = None

    def _before_torch(self) -> None:
        self.start_engine()

    def start_engine(self) -> Engine:
        """Load what compiling needs, and restore, before torch can look for anything."""
        if self.engine is None:
            from pytest_compilecache.plugin.engine import Engine  # noqa: PLC0415

            self._on_engine()
            self.locate()
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

    def claim(self, what: str) -> bool:
        """Whether this process is the first of the session to claim it."""
        if self.marker is None:
            return True
        try:
            self.marker.with_name(f"{self.marker.stem}-{what}.json").touch(exist_ok=False)
        except FileExistsError:
            return False
        except OSError:  # as good as first: said twice is better than not at all
            return True
        return True

    def finish(self, *, workers_compiled: bool) -> None:
        """Save what is new, if any process of the session may have compiled."""
        if self.worker or (self.engine is None and not workers_compiled):
            return
        if self.engine is None:
            from pytest_compilecache.plugin.engine import Engine  # noqa: PLC0415

            self.locate()
            self.engine = Engine(self)
        self.engine.finish()

    def end(self) -> None:
        """Give everything in this process back as it was."""
        self._watch.remove()
        if self.engine is not None:
            self.engine.end()
        self.variables.restore()

    def _join(self) -> None:
        """Take part in the session of an xdist controller, or be one for workers to come."""
        shared = _shared_by_parent()
        if shared is not None:
            self.worker, self.id = True, shared
        # A pytest that a test of a worker starts is no worker.
        self.variables.put(SHARED, "" if self.worker else f"{self.id} {os.getpid()}")

    def _detect(self, environ: Mapping[str, str]) -> None:
        from pytest_compilecache.environment import detect_environment  # noqa: PLC0415

        memo = self._root() / "compiler.json"
        self.environment = detect_environment(environ, compiler_memo=memo)

    def _place(self, environ: Mapping[str, str]) -> None:
        from pytest_compilecache.workspace.place import choose_workspace  # noqa: PLC0415

        if self.environment is None:
            return
        named = environ.get("TORCHINDUCTOR_CACHE_DIR")
        self.workspace = choose_workspace(self._root(), self.environment.id, named)
        place = str(self.workspace.inductor)
        if named is None:
            self.variables.set("TORCHINDUCTOR_CACHE_DIR", place)
        elif named != place:
            # Not marked as ours: a worker takes it for the user's, and works there too.
            self.variables.put("TORCHINDUCTOR_CACHE_DIR", place)
        if self.settings.store and "TORCHINDUCTOR_CPP_DYNAMIC_THREADS" not in environ:
            # Torch's keys contain the thread count: machines with other core
            # counts would miss everything.
            self.variables.set("TORCHINDUCTOR_CPP_DYNAMIC_THREADS", "1")
        if self.worker:
            self._share_cores(environ)

    def _share_cores(self, environ: Mapping[str, str]) -> None:
        # Every process starts compilers of its own: as many as there are cores,
        # times the workers, run a CI machine out of memory.
        if "TORCHINDUCTOR_COMPILE_THREADS" not in environ:
            workers = int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
            threads = max(1, _usable_cores() // max(1, workers))
            self.variables.set("TORCHINDUCTOR_COMPILE_THREADS", str(threads))

    def _root(self) -> Path:
        from pytest_compilecache.workspace.place import default_root  # noqa: PLC0415

        return self.settings.dir or default_root()


def _nothing() -> None:
    """Nobody wants to know."""


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
