"""What torch's cache keys leave out, added to them: vector instructions, attention kernels.

Torch's own keys lack both: code made for AVX-512 is a "hit" under AVX2 and computes wrong
numbers, and code for other attention kernels is a hit within ``sdpa_kernel``. What cannot
be found out becomes a part that no other key has: a miss.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.names import CODECACHE, loaded

_CPU_ISA = "torch._inductor.cpu_vec_isa"


@dataclass(frozen=True, slots=True)
class IsaProbe:
    """What torch found out about vector instructions in this process.

    Attributes:
        picked: The instruction set that it generates code for.
        worked: The sets that the CPU has and whose probe libraries load.
        failed: The sets that the CPU has and whose probe libraries do not.
    """

    picked: str
    worked: tuple[str, ...]
    failed: tuple[str, ...]


def install(patches: Patches, part: Callable[[Callable[[], bool]], str | None]) -> bool:
    """Let every FX and AOTAutograd cache key contain a part of ours.

    ``torch.compiler.config.cache_key_tag`` would do it publicly, but a test that patches
    that setting would drop the protection, and torch before 2.9 lacks it.

    Args:
        patches: Undoes it.
        part: Gives the part for a graph; it is handed what says whether the graph may have
            code for the CPU. It must not raise. None stands for a part that it cannot give:
            then no other key equals this one.

    Returns:
        Whether this torch has a place for it.
    """

    def make(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def with_our_part(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            known = part(functools.partial(_has_cpu_code, self, args))
            ours = f"+unknown={os.urandom(16).hex()}" if known is None else known
            self.cache_key_tag = f"{getattr(self, 'cache_key_tag', '')}{ours}"

        return with_our_part

    return patches.wrap(loaded(CODECACHE, "FxGraphHashDetails"), "__init__", make)


def _has_cpu_code(details: Any, args: tuple[Any, ...]) -> bool:
    """Whether a graph may come to code for the CPU; also where no device is known."""
    inputs = getattr(details, "example_inputs", args[1:2])
    kinds = set(_device_kinds(getattr(details, "gm", None), inputs))
    return not kinds or "cpu" in kinds


def _device_kinds(graph: Any, inputs: Any) -> Iterable[str]:
    for value in _flat(inputs):
        kind = getattr(getattr(value, "device", None), "type", None)
        if kind:
            yield kind
    for module in graph.modules() if hasattr(graph, "modules") else ():
        for node in getattr(getattr(module, "graph", None), "nodes", ()):
            for value in _flat((node.meta.get("val"), node.meta.get("example_value"))):
                kind = getattr(getattr(value, "device", None), "type", None)
                if kind:
                    yield kind
            device = node.kwargs.get("device")
            if device is not None:
                yield str(getattr(device, "type", device)).partition(":")[0]


def _flat(value: Any) -> Iterable[Any]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _flat(each)
    else:
        yield value


def attention_part() -> str:
    """The part of a key that names the attention kernels that a test forbids, or empty."""
    cuda = sys.modules.get("torch.backends.cuda")
    kinds = ("flash", "mem_efficient", "math", "cudnn")
    answers = {kind: getattr(cuda, f"{kind}_sdp_enabled", None) for kind in kinds}
    forbidden = [kind for kind, enabled in answers.items() if enabled and not enabled()]
    return f"+without={','.join(forbidden)}" if forbidden else ""


class IsaPart:
    """The part of a key that names the picked instructions.

    Args:
        report: Takes a sentence where the pick is lower than it was.
        heal: Moves torn probe libraries away; says whether there were any.
        record: Remembers, from one session to the next, which probes worked here.
    """

    def __init__(
        self, report: Callable[[str], object], heal: Callable[[], bool], record: Path
    ) -> None:
        self._report = report
        self._heal = heal
        self._record = record
        self._probed = False
        self._lock = threading.RLock()

    def __call__(self) -> str | None:
        """The part, or None where torch cannot pick, as without a C++ compiler.

        The first call builds and loads torch's probe libraries. Torch picks anew for every
        kernel, by a variable that a test may change.
        """
        with self._lock:
            if not self._probed:
                self._probe()
                self._probed = True
            picked = picked_isa()
            return None if picked is None else f"+isa={picked}"

    def _probe(self) -> None:
        probe = probe_isa()
        if probe is not None and probe.failed:
            first = probe
            if self._heal():
                forget_isa()
                probe = probe_isa() or first
            self._compare(first, probe)
        self._remember(probe)

    def _compare(self, first: IsaProbe, last: IsaProbe) -> None:
        if first.failed != last.failed:
            healed = ", ".join(sorted(set(first.failed) - set(last.failed)))
            self._report(
                f"probe libraries of {healed} were torn and are healed; {last.picked} is picked"
            )
        lost = sorted(set(last.failed) & self._worked_before())
        if lost:
            self._report(
                f"{', '.join(lost)} worked here before and does not now; {last.picked} is picked"
            )

    def _worked_before(self) -> set[str]:
        try:
            return {str(name) for name in json.loads(self._record.read_bytes())}
        except (OSError, ValueError, TypeError):
            return set()

    def _remember(self, probe: IsaProbe | None) -> None:
        known = self._worked_before()
        if probe is None or known.issuperset(probe.worked):
            return
        try:
            self._record.write_text(json.dumps(sorted(known.union(probe.worked))), encoding="utf-8")
        except OSError:
            return  # only a later comparison is lost


def probe_isa() -> IsaProbe | None:
    """Ask torch which vector instructions it picks; this builds and loads its probes."""
    picked = picked_isa()
    if picked is None:
        return None
    candidates = _isas_of_this_cpu(sys.modules.get(_CPU_ISA))
    worked = tuple(str(isa) for isa in candidates if isa)
    return IsaProbe(picked, worked, tuple(str(isa) for isa in candidates if not isa))


def picked_isa() -> str | None:
    """The vector instructions that torch picks now, or None where it cannot.

    An option ``cpp.simdlen`` is left out: torch's keys contain it, and a part that
    followed it would depend on which test came first.
    """
    pick = loaded(_CPU_ISA, "pick_vec_isa")
    config = sys.modules.get("torch._inductor.config")
    if pick is None or config is None:
        return None
    try:
        with config.patch({"cpp.simdlen": None}):
            return str(pick())
    except Exception:  # noqa: BLE001  (it says the same when it compiles, and then it matters)
        return None


def _isas_of_this_cpu(module: Any) -> list[Any]:
    check = getattr(module, "x86_isa_checker", None)
    every = getattr(module, "supported_vec_isa_list", None)
    if check is None or every is None:
        return []
    flags = set(check())
    return [isa for isa in every if flags.issuperset(str(isa).split())] if flags else []


def forget_isa() -> None:
    """Let torch probe its vector instructions again."""
    module = sys.modules.get(_CPU_ISA)
    base = getattr(module, "VecISA", None)
    # The second is name-mangled: a method "__bool__impl" of the class.
    for owner, name in ((module, "valid_vec_isa_list"), (base, "_VecISA__bool__impl")):
        clear = getattr(getattr(owner, name, None), "cache_clear", None)
        if clear is not None:
            clear()
