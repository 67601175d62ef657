"""Each precaution of the store is taken away in turn, and a check notices it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase

from pytest_compilecache.errors import StoreError
from pytest_compilecache.limits import Limits
from tests.crash.extent import SOAK
from tests.stateful import checks, mutants
from tests.stateful.mutants import Mutant
from tests.stateful.test_store_model import compare_with_model
from tests.stateful.world import World

Check = Callable[[World], None]


def _name(value: object) -> str:
    return getattr(value, "__name__", "")


CAUGHT: list[tuple[Mutant, Check, str]] = [
    (
        mutants.no_sync_of_content,
        checks.content_and_name_are_synced_in_this_order,
        "its bytes were not synced",
    ),
    (
        mutants.no_sync_of_folders,
        checks.content_and_name_are_synced_in_this_order,
        "its name was not synced",
    ),
    (
        mutants.written_in_place,
        checks.killed_save_leaves_nothing_torn_that_is_listed,
        "a torn pack is listed",
    ),
    (mutants.restored_in_place, checks.killed_restore_leaves_no_torn_file, "is torn"),
    (
        mutants.frames_are_believed,
        checks.damaged_frame_gives_no_file,
        "a damaged file was restored",
    ),
    (mutants.names_are_believed, checks.pack_of_another_name_is_refused, "DID NOT RAISE"),
    (
        mutants.environments_are_believed,
        checks.environments_stay_apart,
        "made in another environment",
    ),
    (mutants.saves_replace, checks.savers_keep_what_others_saved, "did not come back"),
    (mutants.merges_forget_files, checks.merges_keep_everything, "did not come back"),
    (mutants.prune_without_grace, checks.prune_leaves_what_is_young, "a young pack was deleted"),
    (mutants.prune_without_coverage, checks.prune_leaves_what_is_nowhere_else, "did not come back"),
    (
        mutants.damage_hides_what_was_taken_over,
        checks.what_was_taken_over_is_restored_while_its_successor_is_damaged,
        "did not come back",
    ),
    (
        mutants.notes_are_ignored,
        checks.what_was_noted_as_damaged_is_saved_again,
        "did not come back",
    ),
    (mutants.nothing_is_renewed, checks.what_is_used_does_not_expire, "did not come back"),
    (
        mutants.limit_is_ignored,
        checks.store_stays_below_its_limit_at_every_call,
        "outgrew its limit",
    ),
    (mutants.nobody_takes_turns, checks.savers_wait_for_their_turn, "it took no turn"),
    (
        mutants.live_writers_are_swept,
        checks.what_a_live_writer_writes_is_left_alone,
        "No such file",
    ),
    (mutants.dead_writers_are_left, checks.what_a_dead_writer_left_is_removed, "still there"),
]


FOUND_BY_THE_MODEL = (
    mutants.written_in_place,
    mutants.restored_in_place,
    mutants.frames_are_believed,
    mutants.names_are_believed,
    mutants.environments_are_believed,
    mutants.saves_replace,
    mutants.merges_forget_files,
    mutants.prune_without_grace,
    mutants.notes_are_ignored,
    mutants.nothing_is_renewed,
    mutants.limit_is_ignored,
    mutants.nobody_takes_turns,
)


@pytest.fixture
def world() -> Iterator[World]:
    # Whatever was taken over may be deleted at once.
    world = World(Limits(fan=2, grace_seconds=0.0, free_bytes=0))
    yield world
    world.remove()


@pytest.mark.parametrize("check", dict.fromkeys(row[1] for row in CAUGHT))
def test_store_as_it_is_passes(check: Check, world: World):
    check(world)


@pytest.mark.parametrize(("mutant", "check", "words"), CAUGHT, ids=_name)
def test_mutant_is_noticed(
    mutant: Mutant, check: Check, words: str, world: World, monkeypatch: pytest.MonkeyPatch
):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, StoreError), match=words):
        check(world)


@pytest.mark.skipif(not SOAK, reason="takes minutes; set COMPILECACHE_TESTS=soak")
@pytest.mark.parametrize("mutant", FOUND_BY_THE_MODEL, ids=_name)
def test_model_finds_mutant_by_chance(mutant: Mutant, monkeypatch: pytest.MonkeyPatch):
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        compare_with_model(
            max_examples=200, stateful_step_count=50, phases=[Phase.generate], derandomize=True
        )


def test_documentation_lists_these_mutants_and_no_others():
    text = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|[^|]*\| `(\w+)` \| (yes|no) \|$", text, re.MULTILINE)
    expected = [
        (_name(mutant), _name(check), "yes" if mutant in FOUND_BY_THE_MODEL else "no")
        for mutant, check, _ in CAUGHT
    ]
    assert listed == expected
