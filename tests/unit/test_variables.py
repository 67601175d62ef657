from __future__ import annotations

from pytest_compilecache.variables import MARK, Variables, users_environ


def test_child_does_not_take_ours_for_its_users():
    environ = {"MINE": "1"}
    Variables(environ).set("TORCHINDUCTOR_CACHE_DIR", "/ours")
    assert environ["TORCHINDUCTOR_CACHE_DIR"] == "/ours"
    assert users_environ(environ) == {"MINE": "1"}


def test_value_that_the_user_set_after_us_is_the_users():
    environ: dict[str, str] = {}
    Variables(environ).set("A", "ours")
    environ["A"] = "theirs"
    assert users_environ(environ) == {"A": "theirs"}


def test_everything_is_given_back():
    environ = {"A": "before"}
    variables = Variables(environ)
    variables.set("A", "ours")
    variables.set("B", "ours")
    variables.put("C", "ours")
    variables.restore()
    assert environ == {"A": "before"}


def test_one_variable_can_be_given_back_alone():
    environ = {"A": "before"}
    variables = Variables(environ)
    variables.set("A", "ours")
    variables.set("B", "ours")
    variables.take_back("A")
    assert users_environ(environ) == {"A": "before"}
    assert environ["B"] == "ours"
    variables.restore()
    assert environ == {"A": "before"}


def test_hostile_mark_is_ignored():
    for text in ("", "[]", "1", "{", '{"A": 1}'):
        assert users_environ({MARK: text, "A": "x"}) == {"A": "x"}
