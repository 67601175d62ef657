"""What stands in torch in this process, once, however many sessions and servers it serves.

Hooks are put there when the first that needs them joins and taken away when the last one
leaves. What they see goes to the innermost session; a session in a session never hears of
the other's tests, nor does a key carry its part twice. A hook that fails turns all off.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol

from pytest_compilecache import audit_hook
from pytest_compilecache.compiling.events import CompileEvent, shortened
from pytest_compilecache.compiling.failures import Failure, Rule
from pytest_compilecache.compiling.frames import Frames, Judge, place
from pytest_compilecache.compiling.testrun import TestRun
from pytest_compilecache.guard import Guard
from pytest_compilecache.import_hook import ImportHook
from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks import (
    cache_folders,
    cache_keys,
    eager_calls,
    gradient_warnings,
    isolation,
    metrics,
    names,
    stances,
)
from pytest_compilecache.torchhooks import frames as frame_hooks

if TYPE_CHECKING:
    from pytest_compilecache.compiling.contracts import Contracts
    from pytest_compilecache.compiling.fallback import GraphCompiler
    from pytest_compilecache.compiling.toolchain import Toolchain

_COMPILES_ITSELF = (
    "nothing of it is compiled by Module.compile(): Dynamo skips the forward of torch.nn's own "
    "modules; torch.compile(model) compiles it"
)

Undo = Callable[[], None]
_Install = Callable[[Patches, Callable[..., object]], bool]


class Session(Protocol):
    """A test session of this process, as hooks see it."""

    run: TestRun | None

    def add(self, event: CompileEvent) -> None:
        """Note an event."""

    def bypassed(self, reason: str) -> None:
        """Note why torch did not cache a graph."""

    def read_metrics(self) -> None:
        """Read what torch measured of a frame, before torch forgets it."""

    def pause(self) -> None:
        """Another session begins inside of this one: what comes now is not its own."""

    def go_on(self) -> None:
        """The session inside has ended."""

    def failed(self, hook: str, error: Exception) -> None:
        """A hook failed, and all are off."""

    def set_aside(self, library: Path) -> bool:
        """Move a cached library that does not load out of torch's way."""

    @property
    def toolchain(self) -> Toolchain:
        """What is known of the compilers."""


@dataclass(frozen=True, eq=False)
class KeyUser:
    """A session or server whose cache keys are protected.

    Attributes:
        part: The part of a key that names the vector instructions, or None.
        entries: The folder of its entries, below torch's.
        failed: Called when a hook fails, and all are off.
    """

    part: Callable[[], str | None]
    entries: str
    failed: Callable[[str, Exception], object]


class ProcessHooks:
    """The hooks of a process.

    Attributes:
        frames: Watches what Dynamo does with frames.
    """

    def __init__(self) -> None:
        self.frames = Frames(self, self._judge, lambda: bool(self._sessions), lambda: self.run)
        self._sessions: list[Session] = []
        self._key_users: list[KeyUser] = []
        self._keys = _Group(self, self._install_keys)
        self._calls = _Group(self, self._install_calls)
        self._figures = _Group(self, self._install_figures)
        self._watching_ends: list[Undo] = []

    # --- joining -------------------------------------------------------------

    def protect_keys(self, user: KeyUser) -> Undo:
        """Let cache keys say what torch's leave out, for as long as the user wants it."""
        self._key_users.append(user)
        leave = self._keys.join()

        def end() -> None:
            self._key_users.remove(user)
            leave()

        return end

    def join(self, session: Session) -> Undo:
        """Let a session see what torch does, until it ends."""
        if self._sessions:
            self._sessions[-1].pause()
        self._sessions.append(session)
        leaving = [self._calls.join(), self._figures.join()]

        def end() -> None:
            innermost = self._sessions[-1] is session
            self._sessions.remove(session)
            for leave in reversed(leaving):
                leave()
            if not self._sessions:
                self.frames.forget_all()
            if innermost and self._sessions:
                self._sessions[-1].go_on()

        return end

    def watch_calls(self) -> None:
        """See calls of what ``compile_with_fallback`` made, to the end of the process."""
        if not self._watching_ends:
            self._watching_ends.append(self._calls.join())

    # --- what hooks see ------------------------------------------------------

    def add(self, event: CompileEvent) -> None:
        """Note an event in the innermost session, if there is one."""
        if self._sessions:
            self._sessions[-1].add(event)

    @property
    def run(self) -> TestRun | None:
        """The test that runs in the innermost session."""
        return self._sessions[-1].run if self._sessions else None

    @functools.cached_property
    def graphs(self) -> GraphCompiler:
        """Compiles the graphs of all sessions, with fallback.

        One for the process: code that one session compiled is run by the next one, and
        reports to the session that runs.
        """
        from pytest_compilecache.compiling.failures import Fallbacks  # noqa: PLC0415
        from pytest_compilecache.compiling.fallback import GraphCompiler  # noqa: PLC0415
        from pytest_compilecache.compiling.toolchain import Repair  # noqa: PLC0415

        fallbacks = Fallbacks(self, self._rule, self._diagnose, reported=self._reported)
        repair = Repair(self, lambda library: any(s.set_aside(library) for s in self._innermost))
        current, fell_back = self.frames.current, self.frames.fell_back
        return GraphCompiler(fallbacks, current, repair, self._bounded, fell_back)

    @property
    def _innermost(self) -> list[Session]:
        return self._sessions[-1:]

    def _rule(self, failure: Failure) -> None:
        if self.run is not None:
            self.run.rule(failure)

    def _reported(self) -> set[Failure]:
        return self.run.reported if self.run is not None else set()

    def _diagnose(self, error: BaseException) -> str:
        return "".join(session.toolchain.diagnose(error) for session in self._innermost)

    def _bounded(self) -> contextlib.AbstractContextManager[object]:
        found = [session.toolchain.bounding() for session in self._innermost]
        return found[0] if found else contextlib.nullcontext()

    def _judge(self) -> Judge | None:
        return self.graphs.fallbacks.failed if self.run is not None and self.run.guarded else None

    def _compile_graph(self, *args: Any, **kwargs: Any) -> Any:
        return self.graphs.compile(*args, **kwargs)

    def new_test(self, rule: Rule, contracts: Contracts | None, **asked: Any) -> TestRun:
        """A test that is about to run in the innermost session.

        Args:
            rule: What a failure to compile means in it.
            contracts: What must hold of it, or None where nothing must.
            **asked: The other arguments of ``TestRun``.
        """
        return TestRun(
            self.frames,
            self._compile_graph,
            rule,
            contracts,
            **asked,
        )

    # --- failing open --------------------------------------------------------

    def _failed(self, hook: str, error: Exception) -> None:
        for group in (self._keys, self._calls, self._figures):
            group.guard.off = True
            group.stop()
        for session in list(self._sessions):
            session.failed(hook, error)
        for user in list(self._key_users):
            user.failed(hook, error)

    # --- the hooks -----------------------------------------------------------

    def _install_keys(self, group: _Group) -> None:
        # Not after "torch", whose import may have begun and not ended.
        group.after(names.CODECACHE, self._name_what_keys_lack)
        for module, cache in cache_folders.CACHES:
            group.after(module, functools.partial(self._keep_apart, module, cache))

    def _name_what_keys_lack(self, patches: Patches) -> None:
        guard = self._keys.guard
        cache_keys.install(patches, lambda cpu: guard.call("a cache key", self._part, cpu))

    def _part(self, has_cpu_code: Callable[[], bool]) -> str | None:
        if not self._key_users:  # a person's own patch kept ours in place beyond its time
            return ""
        user = self._key_users[-1]
        # A graph for a GPU needs no C++ compiler, and so none must be asked.
        isa = user.part() if has_cpu_code() else ""
        return None if isa is None else isa + cache_keys.attention_part()

    def _keep_apart(self, module: str, cache: str, patches: Patches) -> None:
        cache_folders.keep_entries_apart(patches, module, cache, self._entries)

    def _entries(self) -> str:
        return self._key_users[-1].entries if self._key_users else cache_folders.GUARDED

    def _install_calls(self, group: _Group) -> None:
        frames = _GuardedFrames(self.frames, group.guard, self._read_metrics)
        group.after(names.CONVERT_FRAME, lambda patches: frame_hooks.watch_frames(patches, frames))
        group.after(names.CONVERT_FRAME, self._watch_limits)
        group.after(names.CONVERT_FRAME, self._hide_gradient_warnings)
        group.after(names.DYNAMO, self._begin_test)

    def _hide_gradient_warnings(self, patches: Patches) -> None:
        gradient_warnings.hide_gradient_warnings(
            patches,
            lambda: self.frames.in_call or (self.run is not None and self.run.guarded),
        )

    def _read_metrics(self) -> None:
        # Torch keeps 64 entries, and a single test can compile more frames.
        for session in self._innermost:
            session.read_metrics()

    def _watch_limits(self, patches: Patches) -> None:
        guard = self._calls.guard
        isolation.watch_limits(
            patches,
            lambda: self.run.limit if self.run is not None else None,
            guard.bound("a recompile limit", self._limit_reached),
        )

    def _limit_reached(self, code: CodeType | None, limit: str, reason: str) -> None:
        function = place(code) if code is not None else ""
        value = names.dynamo_setting(limit)
        why = f"{limit} ({value}) reached; last recompile: {shortened(reason)}"
        self.frames.left_eager(function, why)
        self.add(CompileEvent("limit", function=function, reason=why))
        if code is not None:
            later = f"earlier tests used up its {limit} ({value}): what they did not compile"
            self.frames.give_up(code, "limit", f"{later} runs eager")

    def _begin_test(self, _: Patches) -> None:
        if self.run is not None:  # torch was loaded by the test itself
            self.run.begin()

    def _install_figures(self, group: _Group) -> None:
        group.after(names.CONVERT_FRAME, _keep_dynamo_out)
        for module, bypass in metrics.BYPASSES:
            group.after(module, functools.partial(self._note_bypasses, module, bypass))
        seams: tuple[tuple[str, _Install, Callable[..., object]], ...] = (
            (names.EVAL_FRAME, stances.note_disabled, self._disabled),
            (names.EVAL_FRAME, frame_hooks.watch_calls, self._called),
            (names.CONVERT_FRAME, eager_calls.note_eager_calls, self._eager_call),
            (names.MODULE, eager_calls.note_eager_modules, self._eager_module),
            (names.DECORATORS, stances.note_stances, self._stance),
        )
        for module, install, note in seams:
            noting = group.guard.bound(note.__name__.strip("_"), note)
            group.after(module, functools.partial(_install_with, install, noting))

    def _note_bypasses(self, module: str, name: str, patches: Patches) -> None:
        note = self._figures.guard.bound("a bypass", self._bypassed)
        metrics.note_bypasses(patches, module, name, note)

    def _bypassed(self, reason: str) -> None:
        if self._sessions:
            self._sessions[-1].bypassed(reason)

    def _stance(self, stance: str) -> None:
        self.add(CompileEvent("disabled", reason=f"torch.compiler.set_stance({stance!r})"))

    def _called(self, code: CodeType) -> None:
        """A function was called that Dynamo gave up in an earlier test."""
        given_up, run = self.frames.given_up(code), self.run
        if given_up is None or run is None or given_up.test is run:
            return
        function = place(code)
        if function not in run.found_eager:  # once in a test: it may be called a thousand times
            run.found_eager.add(function)
            self.add(CompileEvent(given_up.kind, function=function, reason=given_up.reason))

    def _eager_call(self, code: CodeType, reason: str) -> None:
        if reason == eager_calls.TURNED_OFF:
            self.frames.give_up(code, "disabled", f"torch.compile was {reason} in an earlier test")
            self._disabled(code)
        else:
            self.frames.skipped(code, reason)

    def _eager_module(self, name: str) -> None:
        run = self.run
        if run is not None and name not in run.eager_modules and not stances.turned_off_by():
            run.eager_modules.add(name)
            self.add(CompileEvent("skip", function=name, reason=_COMPILES_ITSELF))

    def _disabled(self, function: object) -> None:
        by = stances.turned_off_by()
        eager = self.run is not None and self.run.eager
        if by and not eager:  # else the call itself says disable=True
            reason = f"torch.compile is turned off by {by}"
            self.add(CompileEvent("disabled", function=place(function), reason=reason))


def _keep_dynamo_out(_: Patches) -> None:
    code = audit_hook.hook_code()
    if code is not None:
        frame_hooks.keep_out(code)


def _install_with(install: _Install, note: Callable[..., object], patches: Patches) -> None:
    install(patches, note)


class _Group:
    """Hooks that are put into torch together, when the first user joins."""

    def __init__(self, hooks: ProcessHooks, install: Callable[[_Group], None]) -> None:
        self._hooks = hooks
        self._install = install
        self._users = 0
        self._imports = ImportHook()
        self._patches = Patches()
        self.guard = Guard(hooks._failed)  # noqa: SLF001

    def join(self) -> Undo:
        """Put the hooks there, if they are not."""
        self._users += 1
        if self._users == 1:
            self.guard = Guard(self._hooks._failed)  # noqa: SLF001
            self._install(self)

        @functools.cache
        def leave() -> None:
            self._users -= 1
            if not self._users:
                self.stop()

        return leave

    def after(self, module: str, install: Callable[[Patches], object]) -> None:
        """Install a hook when torch has loaded a module; at once where it has."""
        guarded = self.guard.bound(f"the import of {module}", install)
        self._imports.after(module, functools.partial(guarded, self._patches))

    def stop(self) -> None:
        """Take the hooks away."""
        self._imports.remove()
        self._patches.undo()


class _GuardedFrames:
    """A watcher of frames whose own errors never reach Dynamo."""

    def __init__(self, frames: Frames, guard: Guard, ended: Callable[[], object]) -> None:
        self._frames = frames
        self._guard = guard
        self._ended = ended

    @contextlib.contextmanager
    def compiling(self, code: CodeType, *, whole: bool) -> Iterator[None]:
        """Around the compilation of a frame."""
        entered = self._frames.compiling(code, whole=whole)
        self._guard.call("the start of a compile", entered.__enter__)
        try:
            yield
        finally:
            self._guard.call("the end of a compile", entered.__exit__, None, None, None)
            self._guard.call("the end of a compile", self._ended)

    def failed(self, code: CodeType, error: Exception, *, whole: bool) -> bool:
        """Whether a frame that did not compile runs eager.

        Raises:
            BaseException: What was decided to be raised instead of torch's error.
        """
        verdict = self._guard.call("a failed frame", self._frames.failed, code, error, whole=whole)
        if isinstance(verdict, BaseException):
            raise verdict
        return bool(verdict)

    def skipped(self, code: CodeType, reason: str) -> None:
        """A frame runs eager by Dynamo's own decision."""
        self._guard.call("a skipped frame", self._frames.skipped, code, reason)


HOOKS = ProcessHooks()
