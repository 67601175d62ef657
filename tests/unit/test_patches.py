"""Changes of several owners are undone in any order, and a person's own changes stay."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_compilecache.patches import MARK, Patches, users_environ


class Module:
    """A place that is changed: each layer says its name and asks what lies below."""

    @staticmethod
    def ask() -> str:
        return "torch"


@pytest.fixture
def module() -> Any:
    return SimpleNamespace(ask=Module.ask)


def layer(name: str) -> Any:
    return lambda below: lambda: f"{name}({below()})"


# --- functions ------------------------------------------------------------------


def test_last_change_of_one_owner_is_undone_first_and_undoing_twice_does_nothing(module: Any):
    patches, undone = Patches(), []
    patches.wrap(module, "ask", layer("one"))
    patches.add(lambda: undone.append(module.ask()))
    patches.wrap(module, "ask", layer("two"))
    assert module.ask() == "two(one(torch))"
    patches.undo()
    patches.undo()
    assert undone == ["one(torch)"]
    assert module.ask is Module.ask


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_owners_undo_in_any_order_and_nothing_of_theirs_is_left(module: Any, order: Any):
    owners = [Patches() for _ in range(3)]
    for number, patches in enumerate(owners):
        patches.wrap(module, "ask", layer(str(number)))
    for number in order:
        owners[number].undo()
    assert module.ask is Module.ask


def test_owner_that_ends_first_leaves_the_change_of_one_that_began_later(module: Any):
    outer, inner = Patches(), Patches()
    outer.wrap(module, "ask", layer("outer"))
    inner.wrap(module, "ask", layer("inner"))
    outer.undo()
    assert module.ask().startswith("inner(")
    inner.undo()
    assert module.ask is Module.ask


def test_owner_that_began_later_and_ends_first_leaves_the_earlier_change(module: Any):
    outer, inner = Patches(), Patches()
    outer.wrap(module, "ask", layer("outer"))
    inner.wrap(module, "ask", layer("inner"))
    inner.undo()
    assert module.ask() == "outer(torch)"


def test_what_a_person_put_on_top_stays_when_all_of_ours_is_undone(module: Any):
    outer, inner = Patches(), Patches()
    outer.wrap(module, "ask", layer("outer"))
    inner.wrap(module, "ask", layer("inner"))
    module.ask = theirs = lambda: "theirs"
    inner.undo()
    outer.undo()
    assert module.ask is theirs


@pytest.mark.parametrize("first", ["outer", "inner"])
def test_what_a_person_put_between_two_owners_stays(module: Any, first: str):
    outer, inner = Patches(), Patches()
    outer.wrap(module, "ask", layer("outer"))
    module.ask = theirs = lambda: "theirs"
    inner.wrap(module, "ask", layer("inner"))
    for patches in (outer, inner) if first == "outer" else (inner, outer):
        patches.undo()
    assert module.ask is theirs


def test_name_that_is_missing_is_left_alone(module: Any):
    patches = Patches()
    assert not patches.wrap(module, "of_another_version", layer("ours"))
    assert not patches.wrap(None, "ask", layer("ours"))
    patches.set(module, "new", 1)
    patches.undo()
    assert vars(module) == {"ask": Module.ask}


def test_name_of_a_base_class_is_not_moved_into_the_class():
    class Derived(Module):
        pass

    patches = Patches()
    assert not patches.wrap(Derived, "ask", layer("ours"))
    patches.wrap(Module, "ask", lambda below: staticmethod(layer("ours")(below.__func__)))
    assert Derived.ask() == "ours(torch)"
    patches.undo()
    assert "ask" not in vars(Derived)
    assert isinstance(vars(Module)["ask"], staticmethod)


def test_change_that_cannot_be_undone_keeps_no_other_from_being_undone(module: Any):
    patches = Patches()
    patches.wrap(module, "ask", layer("ours"))
    patches.add(lambda: 1 / 0)
    patches.wrap(module, "ask", layer("more"))
    with pytest.raises(ZeroDivisionError):
        patches.undo()
    assert module.ask is Module.ask


# --- variables ------------------------------------------------------------------


def test_child_does_not_take_ours_for_its_users():
    environ = {"MINE": "1"}
    Patches(environ).setenv("TORCHINDUCTOR_CACHE_DIR", "/ours")
    assert environ["TORCHINDUCTOR_CACHE_DIR"] == "/ours"
    assert users_environ(environ) == {"MINE": "1"}


def test_value_that_a_person_set_after_us_is_that_persons_and_stays():
    environ: dict[str, str] = {}
    patches = Patches(environ)
    patches.setenv("A", "ours")
    environ["A"] = "theirs"
    assert users_environ(environ) == {"A": "theirs"}
    patches.undo()
    assert environ == {"A": "theirs"}


def test_variable_that_a_person_removed_meanwhile_stays_removed():
    environ: dict[str, str] = {}
    patches = Patches(environ)
    patches.setenv("A", "ours")
    del environ["A"]
    patches.undo()
    assert environ == {}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_variables_of_two_owners_are_given_back_in_any_order(order: tuple[int, int]):
    environ = {"A": "before"}
    owners = (Patches(environ), Patches(environ))
    for number, patches in enumerate(owners):
        patches.setenv("A", f"owner {number}")
        patches.setenv(f"ONLY_{number}", "ours")
        patches.set_private("PRIVATE", str(number))
    assert users_environ(environ) == {"PRIVATE": "1"}
    for number in order:
        owners[number].undo()
    assert environ == {"A": "before"}


def test_owners_that_set_the_same_value_are_not_confused():
    environ: dict[str, str] = {}
    outer, inner = Patches(environ), Patches(environ)
    outer.setenv("A", "same")
    inner.setenv("A", "same")
    outer.undo()
    assert environ["A"] == "same"
    assert users_environ(environ) == {}
    inner.undo()
    assert environ == {}


def test_hostile_mark_is_ignored():
    for text in ("", "[]", "1", "{", '{"A": 1}'):
        assert users_environ({MARK: text, "A": "x"}) == {"A": "x"}
