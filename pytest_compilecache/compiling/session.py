"""torch.compile as a test session sees it: every call falls back visibly, nothing is silent.

It imports nothing of torch: it waits until torch has loaded what it changes, and
can give all of it back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import CodeType

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.announcing import Hearing
from pytest_compilecache.compiling.backend import GraphCompiler
from pytest_compilecache.compiling.compiler import Compiler
from pytest_compilecache.compiling.contracts import Contracts
from pytest_compilecache.compiling.events import CompileEvent, EventSink
from pytest_compilecache.compiling.failures import Fallbacks, Rule
from pytest_compilecache.compiling.frames import Frames, place
from pytest_compilecache.compiling.repair import Repair
from pytest_compilecache.compiling.toolchain import Toolchain
from pytest_compilecache.imports import Callback, ImportWatch

_COMPILES_ITSELF = (
    "nothing compiled ran in a call after Module.compile(): Dynamo skips the forward of "
    "torch.nn's own modules; torch.compile(model) compiles it"
)


class SessionCompiler:
    """What stands around torch.compile in one process of a session.

    Args:
        sink: Takes events.
        rule: Asked about each failure to compile.
        set_aside: Moves a cached library that does not load out of torch's way.
        toolchain: Knows when a C++ compiler hangs, and whether one works.

    Attributes:
        compiler: Compiles for our fixtures.
        eager: Whether everything runs eager, because the person asked for it.
    """

    def __init__(
        self,
        sink: EventSink,
        rule: Rule,
        set_aside: Callable[[Path], bool],
        toolchain: Toolchain | None = None,
    ) -> None:
        self._sink = sink
        self._toolchain = toolchain or Toolchain()
        self._fallbacks = Fallbacks(sink, rule, self._toolchain.diagnose)
        self._frames = Frames(sink, self._fallbacks.failed)
        graphs = GraphCompiler(self._fallbacks, self._frames.current, Repair(sink, set_aside))
        self.compiler = Compiler(graphs, self._frames, sink)
        self.eager = False
        self._stance: private.ForceEager | None = None
        self._hearing = Hearing(sink)
        self._eager_modules: set[str] = set()
        self._undo: list[private.Undo] = []

    def attach(self, watch: ImportWatch, guarded: Callable[[Callback], Callback]) -> None:
        """Stand around what torch loads from here on; at once where it is loaded already.

        Args:
            watch: Tells when torch has loaded a module.
            guarded: Wraps what runs in the middle of torch's import, where nothing may raise.
        """
        self._undo.append(self._hearing.start())
        # Not after "torch", whose import may have begun and not ended.
        watch.after(private.CONVERT_FRAME, guarded(self._guard_plain_compiles))
        watch.after(private.CPP_BUILDER, guarded(self._bound_compilers))
        watch.after(private.CONVERT_FRAME, guarded(self._watch_frames))
        watch.after(private.EVAL_FRAME, guarded(self._note_disabled))
        watch.after(private.CONVERT_FRAME, guarded(self._note_eager_calls))
        watch.after(private.MODULE, guarded(self._note_eager_modules))
        watch.after(private.DECORATORS, guarded(self._note_stances))
        # Only then can a stance be set; nothing is compiled before.
        watch.after(private.DYNAMO, guarded(self._take_stance))

    def guard_plain_calls(self) -> None:
        """Let plain ``torch.compile`` calls fall back until the next test: a person asked for it."""
        self._frames.judging = True

    def renew(
        self, *, eager: bool = False, contracts: Contracts | None = None, guard: bool = False
    ) -> None:
        """Begin another test: everything is told to it anew, and tried anew.

        Args:
            eager: Whether it runs eager altogether.
            contracts: What must hold of it. It holds of what the test compiles, so what an
                earlier one left compiled is compiled again where that would matter.
            guard: Whether plain calls fall back; otherwise torch decides what becomes of them.
        """
        self._frames.judging = guard
        self._fallbacks.renew()
        self._eager_modules.clear()
        self._frames.forget()
        if contracts is not None and (contracts.counting or contracts.fullgraph):
            self._frames.forget_compiled(but_whole=not contracts.counting)
        self.eager = eager
        self._take_stance()

    def undo(self) -> None:
        """Give torch back as it was."""
        self.eager = False
        self._take_stance()
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _keep(self, undo: private.Undo | None) -> None:
        if undo is not None:
            self._undo.append(undo)

    def _guard_plain_compiles(self) -> None:
        asked = lambda: self._frames.judging  # noqa: E731
        self._keep(private.guard_plain_compiles(self.compiler.graphs.compile, asked))

    def _bound_compilers(self) -> None:
        self._keep(private.bound_compilers(self._toolchain.patience))

    def _watch_frames(self) -> None:
        self._keep(private.hide_gradient_warnings())
        self._keep(private.watch_frames(self._frames))

    def _note_disabled(self) -> None:
        self._keep(private.note_disabled(self._hear_disabled))

    def _note_eager_calls(self) -> None:
        self._keep(private.note_eager_calls(self._hear_eager_call))

    def _note_eager_modules(self) -> None:
        self._keep(private.note_eager_modules(self._hear_eager_module))

    def _note_stances(self) -> None:
        self._keep(private.note_stances(self._hear_stance))

    def _take_stance(self) -> None:
        """Turn compiling off and on, once torch is there to be told."""
        if self.eager and self._stance is None and private.ForceEager.possible():
            self._stance = private.ForceEager()
            self._stance.__enter__()
        elif not self.eager and self._stance is not None:
            self._stance.__exit__(None, None, None)
            self._stance = None

    def _hear_stance(self, stance: str) -> None:
        reason = f"torch.compiler.set_stance({stance!r})"
        self._sink.add(CompileEvent("disabled", reason=reason))

    def _hear_eager_call(self, code: CodeType, reason: str) -> None:
        if reason == private.TURNED_OFF:
            self._frames.give_up(code)  # Dynamo will not ask again
            self._hear_disabled(code)
        else:
            self._frames.skipped(code, reason)

    def _hear_eager_module(self, name: str) -> None:
        if name not in self._eager_modules and not private.turned_off_by():
            self._eager_modules.add(name)  # once in a test: it may be called a thousand times
            self._sink.add(CompileEvent("skip", function=name, reason=_COMPILES_ITSELF))

    def _hear_disabled(self, function: object) -> None:
        by = private.turned_off_by()
        if by and not self.eager:  # else the call itself says disable=True
            reason = f"torch.compile is turned off by {by}"
            event = CompileEvent("disabled", function=place(function), reason=reason)
            self._sink.add(event)
