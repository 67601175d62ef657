"""Damage and malice by the thousand, each the same for the same seed.

Blind mutants are what disks and networks do; the pack keeps its name.
Structured ones are what an attacker does: the pack is named after its new
index, and frames are described as they are, so that parsers deep inside are reached.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from typing import Any, TypeAlias

from tests.security.forging import CONTENTS, Forgery, digest, squeeze, valid
from tests.security.scene import GOOD

Mutator: TypeAlias = Callable[[random.Random, Forgery], None]
NESTED = "a value that is nested deep"
MIB = 1 << 20


def blind(rng: random.Random, content: bytes) -> bytes:
    """The content with some damage, and never as it was."""
    damaged = content
    while damaged == content:
        damaged = rng.choice(_DAMAGES)(rng, content)
    return damaged


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 50))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _remove(rng: random.Random, content: bytes) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randint(1, 64) :]


def _insert(rng: random.Random, content: bytes) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.randbytes(rng.randint(1, 64)) + content[start:]


def _blank(rng: random.Random, content: bytes) -> bytes:
    start, length = rng.randrange(len(content)), rng.randint(1, 256)
    blanked = content[:start] + bytes(length) + content[start + length :]
    return blanked[: len(content)]


def _repeat(rng: random.Random, content: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[:end] + content[start:]


_DAMAGES = (_flip, _remove, _insert, _blank, _repeat)


def structured(rng: random.Random, outside: str) -> Forgery:
    """A pack with one to three faults that its author meant.

    Args:
        rng: Where they are drawn from.
        outside: A folder that he would like to write to, as an absolute path.
    """
    forgery = valid()
    for _ in range(rng.choice((1, 1, 2, 3))):
        with contextlib.suppress(TypeError, KeyError, IndexError, AttributeError):
            # An earlier fault may have left nothing there that a later one could spoil.
            rng.choice(_FAULTS)(rng, forgery)
    _hide_paths(forgery, outside)
    if isinstance(forgery.index, dict) and rng.random() < 0.1:
        forgery.index = _raw(rng, forgery.text())
    return forgery


def _hide_paths(forgery: Forgery, outside: str) -> None:
    """Replace what stands for that folder, and for nests that no encoder would write."""
    text = forgery.text().replace(b"OUTSIDE", outside.encode())
    marks = text.count(json.dumps(NESTED).encode())
    if marks:
        forgery.index = text.replace(json.dumps(NESTED).encode(), b"[" * 20_000 + b"]" * 20_000)
    elif b"OUTSIDE" in forgery.text():
        forgery.index = json.loads(text)


def _raw(rng: random.Random, text: bytes) -> Any:
    """The JSON with a fault in its text."""
    return rng.choice(_DAMAGES)(rng, text)


PATHS = (
    "../evil", "inductor/../../evil", "inductor/../../../../../evil", "OUTSIDE/evil",
    "/OUTSIDE/evil", "inductor/OUTSIDE/../../evil", "inductor//OUTSIDE/evil", "inductor/./evil",
    "..\\evil", "inductor\\..\\..\\evil", "inductor/..\\..\\evil", "C:\\evil", "//host/share/evil",
    "file:///OUTSIDE/evil", "~/evil", "$HOME/evil", "inductor", "inductor/", "headers", "",
    ".", "..", "/", "inductor/evil\0.py", "inductor/evil\n", "inductor/\x1b[2Jevil",
    "inductor/\u202eevil", "inductor/\ud800", "inductor/nul", "inductor/con.so", "state/whole.json",
    "quarantine/evil", "dynamo/evil", "Inductor/evil", "inductor/" + "e" * 300,
    "inductor/" + "e/" * 600 + "e", "inductor/evil:stream", "inductor/evil.", "inductor/evil ",
    "inductor/a", "inductor/a/ca.main.cpp", "inductor/a/ca.main.cpp/below", "headers/empty/below",
    "inductor/e\u0301vil", "unguarded/0/evil.cubin", "inductor/evil.py", GOOD,
)  # fmt: skip


def _value(rng: random.Random) -> Any:
    """Something that does not belong where it is put, most of the time."""
    return rng.choice(
        (
            None, True, False, -1, 0, 1, 2, 30, 31, 89, 91, 2**31, 2**32 - 1, 2**63, 10**30, 0.5,
            1e308, float("nan"), float("inf"), "", "x", "../../evil", "0" * 64, "9" * 64, [], [[]],
            [0] * 6, {}, {"a": 1}, 0o600, 0o700, 0o777, 0o4755, 0o120777, 4 * MIB, 4 * MIB + 1,
            NESTED,
        )
    )  # fmt: skip


def _some_path(rng: random.Random, forgery: Forgery) -> None:
    rng.choice(forgery.index["files"] or [[None]])[0] = rng.choice(PATHS)


def _some_field(rng: random.Random, forgery: Forgery) -> None:
    rows = forgery.index[rng.choice(("files", "frames"))]
    row = rng.choice(rows or [[None]])
    row[rng.randrange(max(1, len(row)))] = _value(rng)


def _moved(rng: random.Random, forgery: Forgery) -> None:
    row = rng.choice(forgery.index["files"] or [[None, 0, 0, None, 0, 0]])
    row[rng.choice((1, 4, 5))] = rng.randrange(-1, 130)


def _rows(rng: random.Random, forgery: Forgery) -> None:
    rows = forgery.index[rng.choice(("files", "frames"))]
    if not rows:
        return
    rng.choice(
        (
            lambda: rows.append(list(rng.choice(rows))),
            lambda: rows.pop(rng.randrange(len(rows))),
            lambda: rng.shuffle(rows),
            lambda: rows.insert(rng.randrange(len(rows)), _value(rng)),
            lambda: rng.choice(rows).append(_value(rng)),
            lambda: rng.choice(rows).pop(),
        )
    )()


def _key(rng: random.Random, forgery: Forgery) -> None:
    key = rng.choice((*forgery.index, "extra"))
    if rng.random() < 0.3:
        del forgery.index[key]
    else:
        forgery.index[key] = _value(rng)


def _frame(rng: random.Random, forgery: Forgery) -> None:
    """Another frame, described as it is except for what it holds."""
    number = rng.randrange(len(forgery.frames))
    old = forgery.frames[number] or b"0"  # an earlier fault may have left nothing
    size = len(CONTENTS[number])
    new = rng.choice(
        (
            lambda: rng.choice(_DAMAGES)(rng, old),
            lambda: rng.randbytes(rng.randint(1, 200)),
            lambda: squeeze(bytes(8 * MIB)),
            lambda: squeeze(bytes(8 * MIB), write_content_size=False),
            lambda: squeeze(rng.randbytes(size + rng.randint(-1, 1))),
            lambda: squeeze(rng.randbytes(size), write_checksum=True),
            lambda: old + old,
        )
    )()
    forgery.frames[number] = new
    forgery.index["frames"][number] = [len(new), size, digest(new)]


def _frame_order(rng: random.Random, forgery: Forgery) -> None:
    rng.choice(
        (
            forgery.frames.reverse,
            lambda: forgery.frames.append(forgery.frames[0]),
            forgery.frames.pop,
        )
    )()
    forgery.frames = forgery.frames or [squeeze(b"")]


def _stored_index(rng: random.Random, forgery: Forgery) -> None:
    text = forgery.text()
    stored = rng.choice(
        (
            lambda: rng.choice(_DAMAGES)(rng, squeeze(text)),
            lambda: squeeze(text, write_content_size=False),
            lambda: text,
            lambda: squeeze(text) * 2,
            lambda: rng.randbytes(rng.randint(0, 300)),
        )
    )()
    forgery.stored = stored


def _footer(rng: random.Random, forgery: Forgery) -> None:
    key = rng.choice(("stored", "size", "signature", "version"))
    forgery.footer[key] = rng.choice((0, 1, 2, 100, 4096, 4097, 1 << 24, 1 << 25, 2**32 - 1))


def _ends(rng: random.Random, forgery: Forgery) -> None:
    if rng.random() < 0.5:
        forgery.before = rng.randbytes(rng.randint(1, 20))
    else:
        forgery.after = rng.randbytes(rng.randint(1, 20))


def _supersedes(rng: random.Random, forgery: Forgery) -> None:
    forgery.index["supersedes"] = rng.choice(
        (["f" * 64], ["f" * 64] * 2, ["../x"], [None], ["f" * 63], {"f" * 64: 1})
    )


_FAULTS: tuple[Mutator, ...] = (
    _some_path, _some_path, _some_path, _some_field, _some_field, _moved, _moved, _rows, _key,
    _frame, _frame, _frame_order, _stored_index, _footer, _ends, _supersedes,
)  # fmt: skip
