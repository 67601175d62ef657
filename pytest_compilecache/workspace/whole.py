"""Whether an artifact is whole. It judges only what it can prove, and loads nothing.

Sources: the ELF-64 and ELF-32 file headers (System V ABI, "Object Files");
GCC's ``c-pch.cc``, which opens a header with a mark of its own and replaces it
by ``gpch`` only when all is written.
"""

from __future__ import annotations

import ast
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pytest_compilecache._filesystem import open_unnoticed

_ELF_MAGIC = b"\x7fELF"
_ELF_IDENTITY = 16
_SHT_NOBITS = 8
_MAX_SECTIONS = 65_535
_PROBE_SOURCE = 4096
# Torch also keeps files whose being there is all that they say.
_NEVER_EMPTY = frozenset({".cpp", ".h", ".cubin", ".ttir", ".ttgir", ".llir", ".ptx"})


def why_torn(location: Path) -> str | None:
    """The reason why a file cannot be whole, or None when nothing speaks against it.

    Raises:
        OSError: The file cannot be read.
    """
    size = location.stat().st_size
    judge = _judge_for(location)
    if size == 0 and (judge is not None or location.suffix in _NEVER_EMPTY):
        return "it is empty"
    if judge is None:
        return None
    with open(location, "rb", opener=open_unnoticed) as file:
        return judge(file, size)


def is_probe(location: Path) -> bool:
    """Whether a library is one by which torch probes vector instructions."""
    source = location.with_suffix(".cpp")
    if location.suffix != ".so" or not source.exists():
        return False
    with open(source, "rb", opener=open_unnoticed) as file:
        return b"_chk_kernel" in file.read(_PROBE_SOURCE)


def _judge_for(location: Path) -> Callable[[BinaryIO, int], str | None] | None:
    by_suffix = _JUDGES.get(location.suffix)
    if by_suffix is not None:
        return by_suffix
    if {"fxgraph", "aotautograd"} & set(location.parts[-5:]):
        return _judge_pickle
    return None


def _judge_library(file: BinaryIO, size: int) -> str | None:
    identity = file.read(_ELF_IDENTITY)
    if identity[:4] != _ELF_MAGIC or len(identity) < _ELF_IDENTITY:
        return "it has no ELF header"
    wide = identity[4] == 2  # noqa: PLR2004  (ELFCLASS64)
    order = "<" if identity[5] == 1 else ">"
    header = struct.Struct(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"))
    raw = file.read(header.size)
    if len(raw) < header.size:
        return "its ELF header is cut"
    fields = header.unpack(raw)
    table, entry_size, count = fields[5], fields[10], fields[11]
    if table == 0 or count == 0:
        return "it has no section table, which a linker writes last"
    return _judge_sections(
        file, size, table, entry_size, min(count, _MAX_SECTIONS), order, wide=wide
    )


def _judge_sections(
    file: BinaryIO, size: int, table: int, entry_size: int, count: int, order: str, *, wide: bool
) -> str | None:
    section = struct.Struct(order + ("IIQQQQ" if wide else "IIIIII"))
    if entry_size < section.size or table + entry_size * count > size:
        return "its section table is cut"
    file.seek(table)
    raw = file.read(entry_size * count)
    for position in range(count):
        _, kind, _, _, offset, length = section.unpack_from(raw, position * entry_size)
        if kind != _SHT_NOBITS and offset + length > size:
            return "a section is cut"
    return None


def _judge_python(file: BinaryIO, _size: int) -> str | None:
    try:
        ast.parse(file.read())
    except (SyntaxError, ValueError) as error:
        return f"it does not parse: {error}"
    return None


def _judge_json(file: BinaryIO, _size: int) -> str | None:
    try:
        json.loads(file.read())
    except ValueError as error:
        return f"it does not parse: {error}"
    return None


def _judge_gcc_header(file: BinaryIO, _size: int) -> str | None:
    return None if file.read(4) == b"gpch" else "the compiler did not finish it"


def _judge_pickle(file: BinaryIO, _size: int) -> str | None:
    # Only protocol 2 and later begin so; anything else is not ours to judge.
    if file.read(1) != b"\x80":
        return None
    file.seek(-1, 2)
    return None if file.read(1) == b"." else "its end is missing"


_JUDGES: dict[str, Callable[[BinaryIO, int], str | None]] = {
    ".so": _judge_library,
    ".py": _judge_python,
    ".json": _judge_json,
    ".best_config": _judge_json,
    ".gch": _judge_gcc_header,
}
