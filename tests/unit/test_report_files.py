"""A session's report as a file."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble
from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
from pytest_compilecache.report.figures import SessionFigures
from pytest_compilecache.report.files import Report, write_report
from pytest_compilecache.report.terminal import Line, Outcome, summary


@pytest.fixture
def report() -> Report:
    figures = SessionFigures()
    events = (CompileEvent("miss", 2), CompileEvent("fallback", reason="no `lowering` for *it*"))
    figures.add("test_a.py::test_one", CompileRecord(events, graphs=2, seconds=1.5))
    outcome = Outcome(
        saved=CacheResult(OperationStatus.SUCCESS, files=3, bytes=4_000_000),
        store="/store",
        troubles=(Trouble("/store", "is full", "free some space"),),
    )
    return Report(figures, outcome, tuple(summary(figures, outcome)))


def test_markdown_says_what_the_terminal_says(report: Report, tmp_path: Path):
    path = tmp_path / "new" / "folder" / "summary.md"
    write_report(path, report)
    text = path.read_text()
    assert text.startswith("## Compile cache\n")
    for line in report.lines:
        plain = text.replace("\\", "")
        assert line.text in plain
    assert "  test_a.py::test_one: no `lowering` for *it*" in text  # in a block, as it is
    assert text.count("````") % 2 == 0


@pytest.mark.parametrize("suffix", ["json", "md"])
def test_name_in_no_encoding_is_escaped(suffix: str, report: Report, tmp_path: Path):
    store = os.fsdecode(b"/store \xff")
    outcome = dataclasses.replace(report.outcome, store=store)
    path = tmp_path / f"report.{suffix}"
    write_report(path, Report(report.figures, outcome, (Line(store),)))
    assert r"\udcff" in path.read_text()
    if suffix == "json":
        assert json.loads(path.read_text())["store"] == store


def test_json_has_every_figure(report: Report, tmp_path: Path):
    path = tmp_path / "report.json"
    write_report(path, report)
    values = json.loads(path.read_text())
    assert (values["format"], values["warm"], values["store"]) == (1, False, "/store")
    assert values["saved"]["files"] == 3
    assert values["troubles"][0]["remedy"] == "free some space"
    record = CompileRecord.from_mapping(values["tests"]["test_a.py::test_one"])
    assert record.count("miss") == 2
    assert record.seconds == pytest.approx(1.5)


def test_report_that_cannot_be_written_leaves_no_half_of_one(report: Report, tmp_path: Path):
    path = tmp_path / "report.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"report\.json"):
        write_report(path, report)
    assert list(tmp_path.iterdir()) == [path]
