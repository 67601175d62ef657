"""Which vector instructions torch picks."""

from __future__ import annotations

import sys
from typing import Any

from pytest_compilecache.compiling.facts import IsaProbe
from pytest_compilecache.compiling.private._names import loaded


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
    pick = loaded("torch._inductor.cpu_vec_isa", "pick_vec_isa")
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
