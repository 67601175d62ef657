"""One running test: what it asks for, and what is known of it so far.

Beginning a test makes a new one, so that nothing of an earlier test has to be cleared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_compilecache.compiling.events import CompileRecord
from pytest_compilecache.compiling.failures import Failure, Rule, allow
from pytest_compilecache.compiling.frames import Frames
from pytest_compilecache.patches import Patches
from pytest_compilecache.settings import Isolation
from pytest_compilecache.torchhooks import inductor, stances
from pytest_compilecache.torchhooks import isolation as isolation_hooks

if TYPE_CHECKING:
    from pytest_compilecache.compiling.contracts import Contracts


class TestRun:
    """A test while it runs.

    Args:
        frames: Watches Dynamo.
        compile_guarded: Compiles a graph of a plain call with fallback.
        rule: What a failure to compile means in it.
        contracts: What must hold of it, or None where nothing must.
        guarded: Whether it bears our mark, uses our fixtures, or a setting asks for the same
            of plain calls: then what does not compile falls back. Otherwise torch decides.
        isolation: What it does not share with the tests before it.
        eager: Whether it runs eager altogether.

    Attributes:
        reported: The failures to compile that were reported in it.
        eager_modules: The modules that were reported to compile nothing.
        found_eager: The functions that were reported to run eager since an earlier test.
        limit: Its own recompile limit, or None where Dynamo's count holds.
        earlier: What its earlier phases compiled.
        phase: What the running phase compiled, as far as it was asked for.
        breaches: The contracts that it broke.
        warned: Whether a warning said that something of it ran eager.
    """

    __test__ = False  # it is no test class

    def __init__(
        self,
        frames: Frames,
        compile_guarded: Callable[..., object],
        rule: Rule = allow,
        contracts: Contracts | None = None,
        *,
        guarded: bool = False,
        isolation: Isolation = "none",
        eager: bool = False,
    ) -> None:
        self.rule = rule
        self.contracts = contracts
        self.eager = eager
        self.reported: set[Failure] = set()
        self.eager_modules: set[str] = set()
        self.found_eager: set[str] = set()
        self.limit: isolation_hooks.TestLimit | None = None
        self.earlier = CompileRecord()
        self.phase = CompileRecord()
        self.breaches: list[str] = []
        self.warned = False
        self.guarded = False
        self._frames = frames
        self._compile_guarded = compile_guarded
        self._asks_for_guard = guarded
        self._isolation = isolation
        self._own_sizes = False
        self._patches = Patches()
        self._begun = False
        self._ended = False
        self._stanced = False

    def begin(self) -> None:
        """Bring what it asks for into force, as far as torch is loaded; it may be called again."""
        if self._ended:
            return
        self._take_stance()
        if not self._begun:
            self._begun = True
            contracts = self.contracts
            counting = contracts is not None and contracts.counting
            if contracts is not None and (counting or contracts.fullgraph):
                # What an earlier test left compiled would run from memory and break nothing.
                self._frames.forget_compiled(but_whole=not counting)
        if self._asks_for_guard:
            self.guard()
        if self._isolation == "test" and not self._own_sizes:
            self._own_sizes = isolation_hooks.own_dynamic_sizes(self._patches)
            if self._own_sizes:
                self._frames.begin_counting()
                self._patches.add(self._frames.forget_recompiled)
        if self._isolation != "none":
            self._own_limit()

    def guard(self) -> None:
        """Let what does not compile fall back until the test ends, plain calls included."""
        self._asks_for_guard = True
        # Where a hook of ours failed, the test goes on after its end, with its fixtures.
        if self.guarded or self._ended:
            return
        self.guarded = inductor.guard_plain_compiles(self._patches, self._compile_guarded)
        if self.guarded:  # else torch is not loaded yet
            self._own_limit()

    def _own_limit(self) -> None:
        if self.limit is None:
            self.limit = isolation_hooks.TestLimit()
        self._frames.try_again()

    def expect_full_graph(self) -> None:
        """Add the contract that nothing of it breaks a graph."""
        from pytest_compilecache.compiling.contracts import Contracts  # noqa: PLC0415

        self.contracts = replace(self.contracts or Contracts(), fullgraph=True)

    def end(self) -> None:
        """Leave nothing of the test in force, and let nothing more of it come into force."""
        self._ended = True
        self._patches.undo()
        self.guarded = False
        self.limit = None
        self._frames.forget_changed()

    @property
    def so_far(self) -> CompileRecord:
        """All that it compiled, as far as that was read."""
        return self.earlier + self.phase

    def _take_stance(self) -> None:
        if self.eager and not self._stanced and stances.ForceEager.possible():
            stance = stances.ForceEager()
            stance.__enter__()
            self._stanced = True
            self._patches.add(lambda: stance.__exit__(None, None, None))
