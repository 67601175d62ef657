"""The one module that touches private torch names, each behind a probe.

A name that is missing loses a number or a protection that is then said to be
missing; it never loses a test. Nothing here imports torch by itself: what torch
has not loaded, it has not used.
"""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_compilecache.compiling.facts import CACHE_STATES, Compilation, Counts, IsaProbe

CODECACHE = "torch._inductor.codecache"
AUTOGRAD_CACHE = "torch._functorch._aot_autograd.autograd_cache"
DYNAMO_UTILS = "torch._dynamo.utils"
CONVERT_FRAME = "torch._dynamo.convert_frame"
_METRICS_KEPT = 4096

GUARDED = "guarded"

Undo = Callable[[], None]


def dynamo_loaded() -> bool:
    """Whether anything can have been compiled in this process."""
    return DYNAMO_UTILS in sys.modules


def _nothing() -> None:
    """Undo nothing."""


def _loaded(module: str, name: str) -> Any:
    """A name out of a module that torch has loaded, or None."""
    return getattr(sys.modules.get(module), name, None)


# --- where things lie -------------------------------------------------------


def redirect_headers(directory: Path) -> Undo:
    """Let torch keep precompiled headers in the directory (torch 2.8 and later)."""
    module = sys.modules.get(CODECACHE)
    if module is None or not hasattr(module, "_HEADER_DIR"):
        return _nothing
    names = {"_HEADER_DIR": directory, "_HEADER_LOCK_DIR": directory / "locks"}
    before = {name: getattr(module, name) for name in names if hasattr(module, name)}
    for name in before:
        setattr(module, name, str(names[name]))

    def undo() -> None:
        for name, value in before.items():
            setattr(module, name, value)

    return undo


def artifact_folders() -> list[str]:
    """The folders that torch builds into at this moment."""
    headers = _loaded(CODECACHE, "_HEADER_DIR")
    return [folder for folder in (os.environ.get("TORCHINDUCTOR_CACHE_DIR"), headers) if folder]


def keep_entries_apart(module: str, class_name: str) -> Undo:
    """Let this process keep a cache's entries in a folder of their own.

    Processes that we are not in, such as a test's own subprocess, use the same
    directory without our protection: what they leave must not be found here.
    """
    cache = _loaded(module, class_name)
    original = getattr(cache, "_get_tmp_dir", None)
    if original is None:
        return _nothing
    kept = vars(cache)["_get_tmp_dir"]

    def apart() -> str:
        place = Path(original())
        return str(place.parent / GUARDED / place.name)

    cache._get_tmp_dir = staticmethod(apart)  # noqa: SLF001

    def undo() -> None:
        cache._get_tmp_dir = kept  # noqa: SLF001

    return undo


def clear_inductor_memory() -> None:
    """Forget what Inductor holds in memory of the directory it used so far."""
    clear = _loaded("torch._inductor.utils", "clear_caches")
    if clear is not None:
        clear()


# --- vector instructions ----------------------------------------------------


def probe_isa() -> IsaProbe | None:
    """Ask torch which vector instructions it picks; this builds and loads its probes."""
    module = sys.modules.get("torch._inductor.cpu_vec_isa")
    picked = picked_isa()
    if picked is None:
        return None
    candidates = _isas_of_this_cpu(module)
    worked = tuple(str(isa) for isa in candidates if isa)
    return IsaProbe(picked, worked, tuple(str(isa) for isa in candidates if not isa))


def picked_isa() -> str | None:
    """The vector instructions that torch picks now, whatever a test has patched.

    An option ``cpp.simdlen`` is left out: torch's keys contain it, and a tag that
    followed it would depend on which test came first.
    """
    pick = _loaded("torch._inductor.cpu_vec_isa", "pick_vec_isa")
    config = sys.modules.get("torch._inductor.config")
    if pick is None or config is None:
        return None
    with config.patch({"cpp.simdlen": None}):
        return str(pick())


def _isas_of_this_cpu(module: Any) -> list[Any]:
    check = getattr(module, "x86_isa_checker", None)
    every = getattr(module, "supported_vec_isa_list", None)
    if check is None or every is None:
        return []
    flags = set(check())
    return [isa for isa in every if flags.issuperset(str(isa).split())] if flags else []


def forget_isa() -> None:
    """Let torch probe its vector instructions again."""
    module = sys.modules.get("torch._inductor.cpu_vec_isa")
    base = getattr(module, "VecISA", None)
    # The second is name-mangled: a method "__bool__impl" of the class.
    for owner, name in ((module, "valid_vec_isa_list"), (base, "_VecISA__bool__impl")):
        clear = getattr(getattr(owner, name, None), "cache_clear", None)
        if clear is not None:
            clear()


def tag_cache_keys(tag: Callable[[], str]) -> Undo | None:
    """Let every FX and AOTAutograd cache key contain the tag.

    ``torch.compiler.config.cache_key_tag`` would do it publicly, but a test that
    patches that setting would drop the protection, and torch before 2.9 lacks it.

    Returns:
        How to undo it, or None where this torch offers no place for it.
    """
    details = _loaded(CODECACHE, "FxGraphHashDetails")
    if details is None:
        return None
    original = details.__init__

    @functools.wraps(original)
    def tagged(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.cache_key_tag = f"{getattr(self, 'cache_key_tag', '')}{tag()}"

    details.__init__ = tagged

    def undo() -> None:
        details.__init__ = original

    return undo


# --- figures ----------------------------------------------------------------


def read_counts() -> Counts:
    """Read the counters; all zero where torch has compiled nothing."""
    counters = _loaded(DYNAMO_UTILS, "counters")
    if counters is None:
        return Counts()
    inductor = counters.get("inductor", Counter())
    autograd = counters.get("aot_autograd", Counter())
    return Counts(
        fx={state: inductor.get(f"fxgraph_cache_{state}", 0) for state in CACHE_STATES},
        aot={state: autograd.get(f"autograd_cache_{state}", 0) for state in CACHE_STATES},
        graphs=counters.get("stats", Counter()).get("unique_graphs", 0),
        graph_breaks=dict(counters.get("graph_break", Counter())),
    )


@dataclass(slots=True)
class MetricsReader:
    """Reads torch's compilation metrics, each entry once, and leaves them to others."""

    _last: Any = None

    def widen(self) -> None:
        """Keep more than torch's 64 entries: a single test can compile more."""
        current = _loaded(DYNAMO_UTILS, "_compilation_metrics")
        resize = _loaded(DYNAMO_UTILS, "set_compilation_metrics_limit")
        if resize is not None and (getattr(current, "maxlen", None) or 0) < _METRICS_KEPT:
            resize(_METRICS_KEPT)

    def read(self) -> list[Compilation]:
        """The entries since the last call."""
        entries = _loaded(DYNAMO_UTILS, "_compilation_metrics")
        fresh: list[Any] = []
        for entry in reversed(entries or ()):
            if entry is self._last:
                break
            fresh.append(entry)
        if fresh:
            self._last = fresh[0]
        return [Compilation.from_entry(entry) for entry in reversed(fresh)]


def note_bypasses(module: str, class_name: str, note: Callable[[str], None]) -> Undo:
    """Tell the reason of each cache bypass, which torch itself only logs."""
    bypass = _loaded(module, class_name)
    if bypass is None:
        return _nothing
    original = bypass.__init__

    def noting(self: BaseException, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if type(self) is bypass:  # a subclass says "miss"
            note(" ".join(str(argument) for argument in args))

    bypass.__init__ = noting

    def undo() -> None:
        bypass.__init__ = original

    return undo


# --- Dynamo's limits --------------------------------------------------------


def recompile_limit() -> int | None:
    """Dynamo's limit of recompiles of one function, or None where it cannot be told."""
    value = dynamo_setting("recompile_limit")
    return value if isinstance(value, int) else None


def dynamo_setting(name: str) -> Any:
    """A setting of Dynamo's, or None where it cannot be told."""
    return getattr(sys.modules.get("torch._dynamo.config"), name, None)


def set_recompile_limit(value: int) -> None:
    """Set the limit."""
    sys.modules["torch._dynamo.config"].recompile_limit = value  # type: ignore[attr-defined]


def note_limits(note: Callable[[str, str, str], None]) -> Undo | None:
    """Tell when Dynamo gives up on a function, of which it only logs.

    Args:
        note: Takes the function with its place, the limit, and why it was last compiled again.

    Returns:
        How to undo it, or None where this torch offers no place for it.
    """
    module = sys.modules.get(CONVERT_FRAME)
    original = getattr(module, "exceeds_recompile_limit", None)
    if module is None or original is None:
        return None

    @functools.wraps(original)
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        exceeded, limit = result if isinstance(result, tuple) else (result, "recompile_limit")
        if exceeded:
            asked = sys._getframe(1).f_locals  # noqa: SLF001
            code, reason = asked.get("code"), asked.get("recompile_reason")
            place = f"'{code.co_name}' ({code.co_filename}:{code.co_firstlineno})" if code else ""
            note(place, str(limit), " ".join(str(reason or "").split()))
        return result

    module.exceeds_recompile_limit = noting  # type: ignore[attr-defined]

    def undo() -> None:
        module.exceeds_recompile_limit = original  # type: ignore[attr-defined]

    return undo


def reset_dynamo() -> None:
    """Forget all compiled code of this process."""
    reset = _loaded("torch._dynamo", "reset")
    if reset is not None:
        reset()


# --- the backend ------------------------------------------------------------


def inductor_config(
    mode: str | None, options: Mapping[str, Any] | None, dynamic: bool | None
) -> dict[str, Any]:
    """Inductor's settings for a mode and options, checked as ``torch.compile`` checks them.

    Raises:
        RuntimeError: An option is unknown or of the wrong type.
    """
    import torch  # noqa: PLC0415  (whoever compiles has it loaded)

    wrapper = torch._TorchCompileInductorWrapper(  # noqa: SLF001
        mode, dict(options) if options else None, dynamic
    )
    return dict(wrapper.config)


def compile_graph(
    graph: Any,
    inputs: Any,
    *,
    config: Mapping[str, Any],
    guard: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> Any:
    """Compile a graph with Inductor, with ``guard`` around its innermost compiler."""
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner  # noqa: PLC0415

    return compile_fx(
        graph, inputs, inner_compile=guard(compile_fx_inner), config_patches=dict(config) or None
    )


def boxed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function AOTAutograd's calling convention: one list of arguments."""
    from functorch.compile import make_boxed_func  # noqa: PLC0415

    wrapped: Callable[..., Any] = make_boxed_func(function)
    return wrapped


def control_flow_errors() -> tuple[type[BaseException], ...]:
    """Exceptions by which Dynamo and its backends talk to each other."""
    names = (
        "SkipFrame",
        "RestartAnalysis",
        "TensorifyScalarRestartAnalysis",
        "UnspecializeRestartAnalysis",
    )
    found = (_loaded("torch._dynamo.exc", name) for name in names)
    return tuple(error for error in found if error is not None)
