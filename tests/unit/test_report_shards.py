"""One report for all shards of a test run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble
from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
from pytest_compilecache.errors import ReportError
from pytest_compilecache.report.figures import SessionFigures
from pytest_compilecache.report.files import Report, write_report
from pytest_compilecache.report.shards import Shard, lines_of, read_shard, united, values_of
from pytest_compilecache.report.terminal import Outcome

HIT = CompileRecord((CompileEvent("hit", 2),), graphs=2, seconds=0.5, seconds_saved=3.0)
COLD = CompileRecord((CompileEvent("miss"),), graphs=1, seconds=4.5, built=("a.so",))
NOTHING = Outcome()
TROUBLE = Trouble("/store", "is slow", "mount it nearer")


def write(file: Path, outcome: Outcome = NOTHING, **tests: CompileRecord) -> Path:
    write_report(file, Report(SessionFigures(dict(tests)), outcome, ()))
    return file


@pytest.fixture
def shards(tmp_path: Path) -> list[Shard]:
    restored = CacheResult(OperationStatus.SUCCESS, files=3, bytes=30, seconds=2.0)
    saved = CacheResult(OperationStatus.SUCCESS, files=1, bytes=10, packs=1)
    outcomes = [
        Outcome(restored=restored, store="/store", troubles=(TROUBLE,)),
        Outcome(restored=restored, saved=saved, store="/store", troubles=(TROUBLE,)),
    ]
    return [
        read_shard(write(tmp_path / "1.json", outcomes[0], one=HIT)),
        read_shard(write(tmp_path / "2.json", outcomes[1], one=HIT, two=COLD)),
    ]


def test_tests_and_results_of_all_shards_are_added_up(shards: list[Shard]):
    whole = united(shards)
    assert whole.figures.tests == {"one": HIT + HIT, "two": COLD}
    assert whole.outcome.restored is not None
    assert (whole.outcome.restored.files, whole.outcome.restored.seconds) == (6, 2.0)
    assert whole.outcome.saved == shards[1].outcome.saved
    assert whole.outcome.troubles == (TROUBLE,)  # once


def test_warm_is_what_is_warm_in_every_shard(shards: list[Shard]):
    assert values_of(shards[:1])["warm"] is True
    values = values_of(shards)
    assert values["warm"] is False
    assert [row["warm"] for row in values["shards"]] == [True, False]
    assert [(row["hits"], row["misses"], row["builds"]) for row in values["shards"]] == [
        (2, 0, 0),
        (2, 1, 1),
    ]


def test_summary_names_cold_tests_and_shards_and_each_trouble_once(shards: list[Shard]):
    lines = [line.text for line in lines_of(shards)]
    assert lines[0] == f"warning: {TROUBLE}"
    assert "not warm: 1 of 2 compiled tests cold, 1 miss, 4 hits, 1 build" in lines[1]
    assert any("two" in line and "4.50 s" in line for line in lines)
    assert lines[-2:] == ["not warm in 1 of 2 shards:", f"  {shards[1].name}: misses 1, builds 1"]


def test_error_of_one_shard_stands_for_all(shards: list[Shard], tmp_path: Path):
    failed = CacheResult(OperationStatus.ERROR, troubles=(TROUBLE,))
    third = read_shard(write(tmp_path / "3.json", Outcome(saved=failed)))
    saved = united([*shards, third]).outcome.saved
    assert saved is not None
    assert (saved.status, saved.files, saved.troubles) == (OperationStatus.ERROR, 1, (TROUBLE,))


def test_report_of_all_can_be_united_again(shards: list[Shard], tmp_path: Path):
    file = tmp_path / "all.json"
    file.write_text(json.dumps(values_of(shards)))
    again = read_shard(file)
    assert again.figures == united(shards).figures
    assert again.outcome == united(shards).outcome


def test_shards_that_compiled_nothing_say_so(tmp_path: Path):
    shards = [read_shard(write(tmp_path / f"{number}.json")) for number in range(2)]
    assert [line.text for line in lines_of(shards)] == ["nothing was compiled"]


def changed(**changes: Any) -> bytes:
    event = {"kind": "hit", "count": 1}
    record = {"events": [event], "graphs": 1, "seconds": 1.0, "seconds_saved": 0.0, "built": []}
    values = {
        "format": 1,
        "store": None,
        "restored": None,
        "saved": None,
        "unsaved": "",
        "troubles": [],
        "tests": {"a": {**record, **changes.pop("record", {})}},
        "outside": record,
    }
    return json.dumps({**values, **changes}).encode()


def test_the_report_that_is_changed_below_is_good(tmp_path: Path):
    (tmp_path / "a.json").write_bytes(changed())
    assert read_shard(tmp_path / "a.json").figures.warm


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        changed(format="2"),
        changed(tests=[]),
        changed(tests={"a": 1}),
        changed(record={"seconds": "1"}),
        changed(record={"graphs": "many"}),
        changed(record={"events": [{"kind": "hit", "count": "2"}]}),
        changed(record={"surprise": 1}),
        changed(saved={"status": "fine"}),
        changed(troubles=["none"]),
    ],
)
def test_what_is_no_report_is_named_and_believed_in_no_part(content: bytes, tmp_path: Path):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(ReportError, match=r"a\.json: it is no report of a session") as caught:
        read_shard(file)
    assert "--compilecache-report" in caught.value.remedy


def test_report_of_another_version_is_said_to_be_one(tmp_path: Path):
    file = tmp_path / "a.json"
    file.write_bytes(changed(format=2))
    with pytest.raises(ReportError, match="it has format 2, and this version reads 1"):
        read_shard(file)


def test_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ReportError, match="directory"):
        read_shard(tmp_path)
