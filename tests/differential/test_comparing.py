"""What counts as a difference."""

from __future__ import annotations

from typing import Any

from tests.differential import drive
from tests.differential.allowed import PAGE, ROWS, page
from tests.differential.comparing import differences


def shown(**changes: Any) -> dict[str, Any]:
    session = {
        "exit": "0",
        "collected": ["test_a"],
        "outcomes": {"test_a call": "passed"},
        "outputs": {},
        "warnings": [],
        "counters": {},
        "frames": {},
        "stacks": [],
        "replaced": [],
        "threads": [],
        "open": [],
        "during": {"variable A": ["1"]},
        "after": {"variable A": "1"},
    }
    outside = {"before": {"variable A": "1"}, "folders": []}
    outside.update({key: changes.pop(key) for key in list(changes) if key in outside})
    return {**outside, "sessions": [{**session, **changes}]}


def facts(**changes: Any) -> list[str]:
    return [each.fact for each in differences("suite", "cold", shown(), shown(**changes))]


def test_equal_runs_do_not_differ():
    assert facts() == []


def test_each_kind_of_difference_is_found():
    assert facts(exit="1") == ["exit code"]
    assert facts(outcomes={"test_a call": "failed"}) == ["outcome test_a call"]
    assert facts(outcomes={}) == ["outcome test_a call"]
    assert facts(warnings=["a warning"]) == ["warning a warning"]
    assert facts(counters={"test_a frames.ok": 2}) == ["counter test_a frames.ok"]
    assert facts(frames={"test_a call": ["ours"]}) == ["traceback by ours in test_a call"]
    assert facts(replaced=["torch:compile"]) == ["replaced torch:compile"]
    assert facts(open=["/lock"]) == ["open /lock"]
    assert facts(folders=["~/.cache"]) == ["folder ~/.cache"]


def test_what_is_seen_during_tests_differs_by_what_is_new_or_gone():
    assert facts(during={"variable A": ["1", "2"]}) == ["during variable A"]
    assert facts(during={"variable B": ["2"]}) == ["during variable A", "during variable B"]


def test_afterwards_all_is_as_before_or_as_the_suite_leaves_it():
    assert facts(after={"variable A": "2"}) == ["after variable A"]
    assert facts(after={}) == ["after variable A"]
    assert facts(after={"variable A": "1", "variable B": "x"}) == ["after variable B"]
    left = shown(after={"variable A": "changed by the suite"})
    assert list(differences("suite", "cold", left, shown())) == []


def test_texts_are_compared_without_places_addresses_and_times():
    words = drive.Words({"/tmp/x": "$TMPDIR"})
    said = "W1128 16:34:26.915000 20053 at 0x7f0012345678 in /tmp/x/y after 1.25 s"
    assert words(said) == "W at 0x… in $TMPDIR/y after … s"


def test_our_frames_are_taken_out_of_logged_stacks_and_noted():
    said = (
        "V torch/x.py] stack (elided 5 frames):\n"
        'V torch/x.py]   File "/a/pytest_compilecache/x.py", line 3, in watched\n'
        "V torch/x.py]     return original(code)\n"
        "V torch/x.py]            ^^^^^^^^^^^^^^\n"
        'V torch/x.py]   File "/a/torch/y.py", line 4, in compile\n'
        "V torch/x.py]     go()\n"
    )
    assert drive.without_our_frames(said) == (
        "V torch/x.py] stack (elided … frames):\n"
        'V torch/x.py]   File "/a/torch/y.py", line 4, in compile\n'
        "V torch/x.py]     go()\n"
    )


def test_reasons_are_sentences_and_names_are_said_once():
    assert len({row.what for row in ROWS}) == len(ROWS)
    assert all(row.why.endswith(".") and row.facts for row in ROWS)
    assert all(row.what in page() for row in ROWS)


def test_page_of_the_documentation_is_written_from_the_table():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.differential.allowed"
