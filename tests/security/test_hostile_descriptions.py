"""Descriptions of environments by anybody: they are shown to people, so they show nothing else."""

from __future__ import annotations

import json
import shutil

import pytest

from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.environment import Environment
from tests.security.scene import Scene, assert_told_well

CLEAR = "\x1b[2J\x1b[1;1H"
TITLE = "\x1b]0;owned\x07"
LINK = "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\"


def described(fields: object, **more: object) -> bytes:
    """A description whose id belongs to its fields, as an attacker would make it."""
    try:
        made = Environment(fields).id  # type: ignore[arg-type]
    except (TypeError, AttributeError, ValueError):
        made = "other"
    return json.dumps({"format": 1, "id": made, "fields": fields, **more}).encode()


HOSTILE = {
    "clears the screen": described({"torch": CLEAR}),
    "sets the title": described({"torch": TITLE}),
    "makes a link": described({"torch": LINK}),
    "speaks eight bits": described({"torch": "\x9b2J"}),
    "turns text around": described({"torch": "\u202e0.31.2"}),
    "hides text": described({"torch": "2\u200b.13\u2060"}),
    "breaks lines": described({"torch": "2\n::error::passed"}),
    "separates lines": described({"torch": "2\u2028::error::"}),
    "returns": described({"torch": "2\rwarm"}),
    "rings": described({"torch": "\a" * 100}),
    "half a letter": described({"torch": "\ud800"}),
    "commands in a name": described({CLEAR: "x"}),
    "commands in flags": described({"cpu_flags": f"avx {CLEAR} avx2"}),
    "commands in its id": described({"torch": "x"}, id=CLEAR),
    "commands in its format": described({"torch": "x"}, format=CLEAR),
    "more keys": described({"torch": "x"}, more=CLEAR),
    "no mapping": described([CLEAR]),
    "no text": described({"torch": 1}),
    "a mapping in a field": described({"torch": {"a": CLEAR}}),
    "one name twice": b'{"format":1,"id":"a","fields":{"a":"b","a":"\\u001b[2J"}}',
    "nested deep": b'{"format":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a long number": b'{"format":' + b"9" * 60_000 + b"}",
    "no number": b'{"format":NaN}',
    "empty": b"",
    "no UTF-8": b"\xff\xfe\x1b[2J",
    "null bytes": bytes(1000),
    "10 MB": b" " * 10_000_000 + described({"torch": "x"}),
}


@pytest.fixture
def others(scene: Scene) -> Scene:
    """A scene whose store has nothing for our environment."""
    shutil.rmtree(scene.shelf)
    return scene


def explanation(scene: Scene) -> str:
    result = scene.restore()
    assert result.status is OperationStatus.DOES_NOT_EXIST
    assert_told_well(result)
    assert not result.troubles
    return result.explanation


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_description_is_not_shown(kind: str, others: Scene):
    location = others.store / "v1" / "other" / "environment.json"
    location.parent.mkdir()
    location.write_bytes(HOSTILE[kind])
    assert explanation(others) == ""


def test_hostile_description_does_not_keep_an_honest_one_from_being_shown(others: Scene):
    honest = Environment({"torch": "2.12.0", "python": "3.11", "machine": "x86_64"})
    for name, content in (("evil", HOSTILE["clears the screen"]), ("b", honest.to_json().encode())):
        location = others.store / "v1" / name / "environment.json"
        location.parent.mkdir()
        location.write_bytes(content)
    assert explanation(others) == "torch is 2.13.0 here and 2.12.0 there"


def test_explanation_by_a_stranger_is_no_flood(others: Scene):
    flood = {f"field_{number}": "x" * 4000 for number in range(15)}
    location = others.store / "v1" / "flood" / "environment.json"
    location.parent.mkdir()
    location.write_bytes(described(flood))
    assert len(explanation(others)) < 10_000


def test_sparse_gigabyte_is_not_read(others: Scene):
    location = others.store / "v1" / "sparse" / "environment.json"
    location.parent.mkdir()
    with location.open("wb") as file:
        file.truncate(1 << 30)
    result, took = others.restore_apart()
    assert result.explanation == ""
    assert took < 200 << 20
