from __future__ import annotations

import json

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble
from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
from pytest_compilecache.report.figures import SessionFigures
from pytest_compilecache.report.terminal import Outcome, summary
from pytest_compilecache.workspace.heal import TornFile

HIT = CompileRecord(events=(CompileEvent("hit", 2),), graphs=1, seconds=0.5, seconds_saved=7.25)
COLD = CompileRecord(
    events=(CompileEvent("miss", 3),), graphs=1, seconds=4.0, built=("a.so", "b.so")
)


def figures(**tests: CompileRecord) -> SessionFigures:
    result = SessionFigures()
    for test, record in tests.items():
        result.add(test, record)
    return result


def text(figures: SessionFigures, outcome: Outcome | None = None) -> list[str]:
    return [line.text for line in summary(figures, outcome or Outcome())]


def test_warm_session_is_one_line():
    restored = CacheResult(OperationStatus.SUCCESS, files=3, bytes=2_500_000, seconds=0.25)
    assert text(figures(a=HIT, b=HIT), Outcome(restored=restored)) == [
        (
            "warm: 2 compiled tests, 4 hits, 0 builds, 14.5 s of compiling saved "
            "(restored 3 files, 2.5 MB, in 0.2 s)"
        )
    ]


def test_session_that_compiled_nothing_says_nothing_and_never_reads_as_warm():
    assert text(figures()) == []
    assert not figures().warm
    assert not SessionFigures(tests={"a": CompileRecord()}).warm


def test_cold_session_names_the_slowest_tests_first():
    slow = CompileRecord(events=(CompileEvent("miss"),), seconds=9.0, built=("c.so",))
    assert text(figures(quick=COLD, slow=slow, warm=HIT)) == [
        "not warm: 2 of 3 compiled tests cold, 4 misses, 2 hits, 3 builds, 13.5 s spent compiling",
        "slowest cold tests:",
        "     9.00 s  slow  (1 miss, 1 build)",
        "     4.00 s  quick  (3 misses, 2 builds)",
    ]


def test_hit_for_which_a_compiler_ran_is_not_warm():
    lying = CompileRecord(events=(CompileEvent("hit"),), built=("a.so",))
    assert not lying.warm
    assert text(figures(a=lying))[0].startswith("not warm: 1 of 1 compiled test cold, 0 misses")


def test_what_cannot_be_cached_is_told_with_torchs_reason():
    bypass = CompileRecord(events=(CompileEvent("bypass", reason="Can't cache cond"),))
    lines = text(figures(a=bypass, b=bypass))
    assert lines[0] == "nothing came from the cache or went into it: 0 graphs captured"
    assert lines[1:] == ["could not be cached:", "  a and 1 more: Can't cache cond"]


def test_silently_eager_is_never_silent():
    for kind, title in (
        ("fallback", "did not compile and ran eager:"),
        ("limit", "reached the recompile limit and ran eager:"),
    ):
        eager = CompileRecord(
            events=(CompileEvent("hit"), CompileEvent(kind, function="f", reason="why"))
        )  # type: ignore[arg-type]
        lines = text(figures(a=eager))
        assert lines[0].startswith("nothing cold in 1 compiled test: 1 hit, 0 builds; ")
        assert lines[1:] == [title, "  a: f: why"]


def test_test_that_asked_for_a_cold_start_spoils_no_verdict():
    fresh = CompileRecord(events=(CompileEvent("miss"),), built=("x",), fresh=True)
    assert text(figures(a=HIT, b=fresh))[0].endswith("; 1 test cold on request")
    assert text(figures(b=fresh)) == ["nothing was compiled but 1 test cold on request"]


def test_trouble_comes_first_with_its_remedy_even_when_nothing_was_compiled():
    trouble = Trouble("/store", "no space left", "free space there")
    assert text(figures(), Outcome(troubles=(trouble,))) == [
        "warning: /store: no space left (free space there)"
    ]


def test_healed_files_are_one_line():
    torn = tuple(TornFile(f"inductor/{name}.so", "it is empty") for name in "abc")
    restored = CacheResult(OperationStatus.SUCCESS, torn=torn)
    assert text(figures(), Outcome(restored=restored)) == [
        ("healed: 3 files torn, now in quarantine (inductor/a.so: it is empty and 2 more)")
    ]


def test_save_that_was_not_allowed_says_why():
    lines = text(figures(a=COLD), Outcome(unsaved="this pull request comes from a fork"))
    assert lines[-1] == "nothing was saved: this pull request comes from a fork"


def test_records_and_results_survive_a_journey_through_json():
    record = (
        HIT + COLD + CompileRecord(events=(CompileEvent("recompile", 1, "f", "why"),), fresh=True)
    )
    assert CompileRecord.from_mapping(json.loads(json.dumps(record.to_mapping()))) == record
    result = CacheResult(
        OperationStatus.ERROR, 1, 2, 3, 0.5,
        torn=(TornFile("a", "b", probe=True),), troubles=(Trouble("a", "b", "c"),), usable=False,
    )  # fmt: skip
    assert CacheResult.from_mapping(json.loads(json.dumps(result.to_mapping()))) == result
