"""One process's part in a session once torch is imported: restore, protect, count, save.

It knows nothing of pytest, and it never raises: trouble is noted for the summary.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_compilecache.cache import CacheResult, Trouble, restore, save, trouble
from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.contracts import Contracts
from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
from pytest_compilecache.compiling.failures import allow
from pytest_compilecache.compiling.limits import LimitWatch, RecompileBudget
from pytest_compilecache.compiling.protection import Protection
from pytest_compilecache.compiling.recorder import Recorder
from pytest_compilecache.compiling.session import SessionCompiler
from pytest_compilecache.compiling.toolchain import Toolchain
from pytest_compilecache.environment import Environment
from pytest_compilecache.errors import CompileCacheError
from pytest_compilecache.imports import Callback, ImportWatch
from pytest_compilecache.store import folder_of
from pytest_compilecache.trust import judge_build
from pytest_compilecache.workspace.evict import Evicted, evict
from pytest_compilecache.workspace.heal import set_aside_unloadable
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.sharing import SharedWorkspace, restoring_turn
from pytest_compilecache.workspace.usage import UsageLog

if TYPE_CHECKING:
    from pytest_compilecache.plugin.session import CompileSession

_OLD_SECONDS = 86_400.0


class Engine:
    """What works for a session in a process that may compile.

    Attributes:
        recorder: What the compiler does.
        budget: Each test's recompile limit.
        compiling: What stands around torch.compile.
        restored: How the restore ended, in whichever process it was.
        saved: How the save ended, if there was one.
    """

    def __init__(self, session: CompileSession) -> None:
        self._session = session
        self.recorder = Recorder()
        self.budget = RecompileBudget()
        self.compiling = SessionCompiler(
            self.recorder.sink,
            session.rule or allow,
            self._set_aside,
            Toolchain(session.settings.compiler_seconds),
        )
        self.restored: CacheResult | None = None
        self.saved: CacheResult | None = None
        self.evicted: Evicted | None = None
        self._use: SharedWorkspace | None = None
        self._usage: UsageLog | None = None
        self._undo: list[private.Undo] = []

    def start(self, watch: ImportWatch, guarded: Callable[[Callback], Callback]) -> None:
        """Restore, and wait for the parts of torch that compile."""
        self._share()
        self._restore()
        if self._session.workspace is not None:  # now: healing opens what torch may never use
            self._usage = UsageLog(self._session.workspace)
            self._usage.start()
        watch.after(private.CODECACHE, guarded(self._count_builds))
        protection = Protection(self._session.workspace, self.recorder.sink)
        protection.attach(watch, guarded)
        self._undo.append(protection.undo)
        watch.after(private.DYNAMO_UTILS, guarded(self.recorder.widen))
        for module, bypass in (
            (private.CODECACHE, "BypassFxGraphCache"),
            (private.AUTOGRAD_CACHE, "BypassAOTAutogradCache"),
        ):
            watch.after(module, guarded(functools.partial(self._hear_bypasses, module, bypass)))
        limits = LimitWatch(self._note_limit)
        watch.after(private.CONVERT_FRAME, guarded(limits.attach))
        self._undo.append(limits.undo)
        self.compiling.renew(eager=self._session.eager)
        self.compiling.attach(watch, guarded)
        self._undo.append(self.compiling.undo)
        self.recorder.begin()

    def begin_test(self, contracts: Contracts, *, guard: bool = False) -> None:
        """Tell the next test everything anew; guarded, it has the whole recompile limit."""
        self.recorder.fresh = False
        if contracts.counting:
            self.budget.forget()
        if guard:
            self.budget.renew()
        else:
            self.budget.restore()
        self.compiling.renew(eager=self._session.eager, contracts=contracts, guard=guard)

    def drain(self) -> CompileRecord | None:
        """What the compiler did since the last call; it is charged to the running test's limit."""
        record = self.recorder.drain()
        if record is not None:
            self.budget.spend(self.recorder.compiles, limit_hit=bool(record.count("limit")))
            self.close()  # a session that is killed has noted what it used so far
        return record

    def close(self) -> None:
        """Note on the artifacts which of them this process used."""
        if self._usage is not None:
            self._usage.flush()

    def finish(self) -> None:
        """Save what is new, if the settings, and in doubt the build, allow it; and tidy up."""
        session = self._session
        workspace, environment, store = (
            session.workspace,
            session.environment,
            session.settings.store,
        )
        self._read_restored()
        if session.marker is not None:
            with contextlib.suppress(OSError):
                for marker in session.marker.parent.glob(f"{session.marker.stem}*.json"):
                    marker.unlink(missing_ok=True)
        if workspace is None or environment is None or not workspace.inductor.is_dir():
            return
        limits = session.settings.limits
        if store is not None and not self.unsaved:
            self.saved = save(workspace, environment, store, limits)
        self._release()
        self.evicted = evict(workspace, limits)

    @property
    def unsaved(self) -> str:
        """Why nothing may be saved, or empty."""
        policy = self._session.settings.save
        if policy == "auto":
            trust = judge_build(self._session.users_environ)
            return "" if trust.may_save else trust.reason
        return "" if policy == "always" else "--compilecache-save=never"

    def troubles(self) -> tuple[Trouble, ...]:
        """What went wrong, each only once."""
        early = [trouble(subject, error) for subject, error in self._session.failures]
        results = [result for result in (self.restored, self.saved) if result is not None]
        found = [*early, *(each for result in results for each in result.troubles)]
        if self.evicted is not None:
            found += [trouble(each.subject, each) for each in self.evicted.troubles]
        if not self._session.worker and self._nowhere_to_restore_from():
            store = str(self._session.settings.store)
            remedy = "check its path, or let a session save to it"
            found.append(Trouble(store, "the store does not exist", remedy))
        return tuple(dict.fromkeys(found))

    def end(self) -> None:
        """Give torch back as it was."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self.budget.restore()
        self._release()

    def _nowhere_to_restore_from(self) -> bool:
        store = self._session.settings.store
        if store is None or self.restored is None or self.saved is not None:
            return False
        with contextlib.suppress(CompileCacheError):  # which the restore told
            return not folder_of(store).exists()
        return False

    def _share(self) -> None:
        """Let nobody evict what this process may use."""
        session = self._session
        if session.workspace is not None and session.environment is not None:
            self._use = SharedWorkspace(session.workspace, session.environment.id)
            self._use.acquire()

    def _release(self) -> None:
        if self._use is not None:
            self._use.release()
        if self._usage is not None:
            self._usage.stop()

    def _restore(self) -> None:
        """Restore, once in a session, before torch can look for anything."""
        session = self._session
        if session.workspace is None or session.environment is None:
            return
        try:
            self.restored = self._restore_once(session.workspace, session.environment)
        except Exception as error:  # noqa: BLE001  (fails open)
            session.failures.append(("the restore", error))
        if self.restored is not None and not self.restored.usable:
            # Torch would fail in a folder that it cannot use; its own default works.
            session.variables.take_back("TORCHINDUCTOR_CACHE_DIR")
            session.workspace = None

    def _restore_once(self, workspace: Workspace, environment: Environment) -> CacheResult:
        with contextlib.suppress(CompileCacheError, OSError):  # restore() says what is wrong
            workspace.prepare(environment.id)
        with restoring_turn(workspace):
            if self._read_restored() is not None:
                return self.restored  # type: ignore[return-value]
            result = restore(
                workspace,
                environment,
                self._session.settings.store,
                self._session.settings.limits,
                read_only=bool(self.unsaved),
            )
            for torn in result.torn:
                if torn.probe:
                    reason = f"a probe library was torn and is healed: {torn.reason}"
                    self.recorder.sink.add(CompileEvent("isa", reason=reason))
            marker = self._session.marker
            with contextlib.suppress(OSError):
                _remove_old(workspace.state)
                if marker is not None:
                    marker.write_text(json.dumps(result.to_mapping()), encoding="utf-8")
            return result

    def _read_restored(self) -> CacheResult | None:
        """How the restore ended when another process of the session did it."""
        marker = self._session.marker
        if self.restored is None and marker is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                self.restored = CacheResult.from_mapping(json.loads(marker.read_bytes()))
        return self.restored

    def _count_builds(self) -> None:
        self.recorder.builds.start()
        self._undo.append(self.recorder.builds.stop)

    def _set_aside(self, library: Path) -> bool:
        workspace = self._session.workspace
        return workspace is not None and set_aside_unloadable(workspace, library)

    def _hear_bypasses(self, module: str, name: str) -> None:
        self._undo.append(private.note_bypasses(module, name, self.recorder.bypasses.append))

    def _note_limit(self, function: str, reason: str) -> None:
        self.recorder.sink.add(CompileEvent("limit", function=function, reason=reason))


def _remove_old(state: Path) -> None:
    """Remove the marks of sessions that were killed."""
    for marker in state.glob("session-*.json"):
        if time.time() - marker.stat().st_mtime > _OLD_SECONDS:
            marker.unlink(missing_ok=True)
