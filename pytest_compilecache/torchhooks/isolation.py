"""A test's own recompile limit and its own record of dynamic sizes.

Dynamo counts the recompiles of a function over the whole process; past the limit the
function runs eager without a word. And a second size of an input makes that dimension
dynamic for all that the process compiles later. No setting is moved for either: the limit
is judged by what a test itself compiled, and the record of sizes is another one meanwhile.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.names import CONVERT_FRAME, loaded

Note = Callable[[CodeType | None, str, str], object]
_PGO = "torch._dynamo.pgo"


@dataclass(slots=True)
class TestLimit:
    """What one test compiled of each function, as far as its recompile limit is concerned."""

    __test__ = False  # it is no test class

    _seen: dict[int, _Before] = field(default_factory=dict)

    def before(self, code: CodeType, entries: list[Any], compiled: int) -> _Before:
        """What there was of a function when the test first compiled it."""
        # By identity: equal code of two functions is compiled for each.
        return self._seen.setdefault(id(code), _Before(code, entries, compiled))

    def restart(self) -> None:
        """Give the whole limit again, as to another example of the test."""
        self._seen.clear()


@dataclass(frozen=True, slots=True)
class _Before:
    """A function before a test compiled it.

    Attributes:
        code: Its code, held so that its identity is given to no other.
        entries: Its compiled versions, held for the same reason.
        compiled: How often it was compiled.
    """

    code: CodeType
    entries: list[Any]
    compiled: int


def watch_limits(patches: Patches, limit: Callable[[], TestLimit | None], note: Note) -> bool:
    """Judge recompile limits by what a test compiled, and tell which functions reach theirs.

    Args:
        patches: Undoes it.
        limit: The running test's own limit, or None where torch's count holds.
        note: Takes the function's code, the name of the limit, and why it was last compiled
            again. It must not raise.

    Returns:
        Whether this torch has a place for it.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def judging(cache_size: Any, compile_id: Any) -> Any:
            asks = sys._getframe(1).f_locals  # noqa: SLF001
            own = limit()
            if own is not None:
                cache_size, compile_id = _own_share(own, asks, cache_size, compile_id)
            result = original(cache_size, compile_id)
            exceeded, name = result if isinstance(result, tuple) else (result, "recompile_limit")
            if exceeded:
                reason = " ".join(str(asks.get("recompile_reason") or "").split())
                note(asks.get("code"), str(name), reason)
            return result

        return judging

    return patches.wrap(sys.modules.get(CONVERT_FRAME), "exceeds_recompile_limit", make)


def _own_share(own: TestLimit, asks: dict[str, Any], size: Any, compile_id: Any) -> tuple[Any, Any]:
    """The part of the cache size and of the compile's number that is a test's own."""
    code, frame = asks.get("code"), asks.get("frame")
    same = loaded("torch._dynamo.cache_size", "_has_same_id_matched_objs")
    number = getattr(compile_id, "frame_compile_id", None)
    if code is None or frame is None or same is None or number is None:
        return size, compile_id
    entries = _entries(asks)
    before = own.before(code, entries, number)
    known = {id(entry) for entry in before.entries}
    new = [entry for entry in entries if id(entry) not in known]
    counts = {
        "num_cache_entries": len(new),
        "num_cache_entries_with_same_id_matched_objs": sum(same(frame, each) for each in new),
        "total_cache_entries_all_regions": len(new),
    }
    fields = {each.name for each in dataclasses.fields(size)}
    size = dataclasses.replace(
        size, **{name: value for name, value in counts.items() if name in fields}
    )
    return size, dataclasses.replace(compile_id, frame_compile_id=number - before.compiled)


def _entries(asks: dict[str, Any]) -> list[Any]:
    entries = asks.get("cache_entries")
    if entries is not None:
        return list(entries)
    found, entry = [], asks.get("cache_entry")
    while entry is not None:  # before 2.9: a linked list
        found.append(entry)
        entry = entry.next
    return found


def revive(code: CodeType) -> None:
    """Let Dynamo compile a function again that reached a limit and runs eager since."""
    frames = "torch._C._dynamo.eval_frame"
    put = loaded(frames, "set_code_exec_strategy")
    strategy = loaded(CONVERT_FRAME, "FrameExecStrategy")
    action = loaded(CONVERT_FRAME, "FrameAction")
    if put is not None and strategy is not None and action is not None:
        put(code, strategy(action.DEFAULT, action.DEFAULT))


def own_dynamic_sizes(patches: Patches) -> bool:
    """Begin a record of the sizes that were seen; undone, the former one is back.

    Returns:
        Whether this torch has a place for it.
    """
    module = sys.modules.get(_PGO)
    if module is None or not hasattr(module, "reset_code_state"):
        return False
    names = [name for name in ("_CODE_STATE", "_INIT_CODE_STATE") if hasattr(module, name)]
    for name in names:
        before = getattr(module, name)
        patches.add(functools.partial(setattr, module, name, before))
    module.reset_code_state()
    return True
