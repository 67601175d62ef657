"""Tells whether two cache entries of one key say the same. It reads opcodes and never unpickles.

Processes that compile one graph at the same time write an entry each. These
differ in what has no meaning for a reader: how long the compiler took, the
addresses of its functions, and the environment in a program for repeating an
error (as pickles of torch 2.7 to 2.15 showed). Entries whose guards, graphs or
anything else differ are all needed. Whatever is not understood differs.
"""

from __future__ import annotations

import hashlib
import pickletools
import re
from typing import Any

# guarded/fxgraph/<2 letters>/<key>/<entry> and guarded/aotautograd/<key>/<entry>
_ENTRY = re.compile(r"(inductor/guarded/(?:fxgraph/[^/]+|aotautograd)/[^/]+)/[^/]+")
_MAX_BYTES = 4 << 20
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")
_REPRO_ENVIRONMENT = re.compile(r"^os\.environ(?:\[|\.pop\().*$", re.MULTILINE)
_TIMES = frozenset(
    {"_time_taken_ns", "time_taken_ns", "forward_time_taken_ns", "backward_time_taken_ns"}
)
_INTEGERS = frozenset({"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"})
_MEMO_READS = frozenset({"BINGET", "LONG_BINGET"})
_MEMO_WRITES = frozenset({"MEMOIZE", "BINPUT", "LONG_BINPUT"})


def key_of(path: str) -> str | None:
    """The folder of a cache entry's key, or None when the path is not of an entry."""
    match = _ENTRY.fullmatch(path)
    return match[1] if match else None


def meaning(entry: bytes) -> bytes | None:
    """A digest that two entries share only when they say the same; None when it cannot be told.

    Args:
        entry: The bytes of a cache entry.
    """
    if len(entry) > _MAX_BYTES:
        return None
    digest = hashlib.sha256()
    memo: dict[Any, Any] = {}
    last: Any = None  # the value that stands before an integer, which may be its key
    try:
        for opcode, argument, _ in pickletools.genops(entry):
            name = opcode.name
            if name in _MEMO_WRITES:
                memo[len(memo) if argument is None else argument] = last
                digest.update(name.encode())
                continue
            value = memo.get(argument) if name in _MEMO_READS else argument
            if name == "FRAME":  # the length of what follows, which times and addresses change
                continue
            is_time = name in _INTEGERS and isinstance(last, str) and last in _TIMES
            said = "a time" if is_time else f"{name} {_plain(argument)!r}"
            digest.update(said.encode("utf-8", "surrogatepass") + b"\0")
            last = value
    except Exception:  # noqa: BLE001  (pickletools raises what it likes on what is no pickle)
        return None
    return digest.digest()


def _plain(argument: Any) -> Any:
    if isinstance(argument, str):
        return _REPRO_ENVIRONMENT.sub("", _ADDRESS.sub("0x", argument))
    return argument
