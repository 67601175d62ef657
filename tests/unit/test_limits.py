from __future__ import annotations

import pytest

from pytest_compilecache.compiling import limits, private
from pytest_compilecache.compiling.limits import RecompileBudget


class FakeDynamo:
    def __init__(self) -> None:
        self.limit = 8
        self.resets = 0


@pytest.fixture
def dynamo(monkeypatch: pytest.MonkeyPatch) -> FakeDynamo:
    fake = FakeDynamo()
    monkeypatch.setattr(private, "recompile_limit", lambda: fake.limit)
    monkeypatch.setattr(private, "set_recompile_limit", lambda value: setattr(fake, "limit", value))
    monkeypatch.setattr(private, "reset_dynamo", lambda: setattr(fake, "resets", fake.resets + 1))
    return fake


def test_suite_that_compiles_nothing_leaves_the_limit_alone(dynamo: FakeDynamo):
    budget = RecompileBudget()
    budget.renew()
    assert (dynamo.limit, dynamo.resets) == (8, 0)


def test_every_test_has_the_whole_limit_whatever_ran_before(dynamo: FakeDynamo):
    budget = RecompileBudget()
    compiled = 0
    for _ in range(20):
        budget.renew()
        assert dynamo.limit >= 8 + compiled
        budget.spend({"f": 5, "g": 1}, limit_hit=False)
        compiled += 5
    assert dynamo.resets == 0


def test_compiled_code_is_forgotten_before_dynamos_accumulated_limit(dynamo: FakeDynamo):
    budget = RecompileBudget()
    for _ in range(100):
        budget.renew()
        assert dynamo.limit < 256
        budget.spend({"f": 10}, limit_hit=False)
    assert dynamo.resets == budget.resets > 0


def test_function_that_hit_the_limit_is_compiled_again_in_the_next_test(dynamo: FakeDynamo):
    budget = RecompileBudget()
    budget.spend({"f": 9}, limit_hit=True)
    budget.renew()
    assert (dynamo.resets, dynamo.limit) == (1, 8)
    budget.spend({"f": 1}, limit_hit=False)
    budget.renew()
    assert (dynamo.resets, dynamo.limit) == (1, 9)


def test_users_own_limit_is_the_base_and_is_given_back(dynamo: FakeDynamo):
    budget = RecompileBudget()
    budget.spend({"f": 3}, limit_hit=False)
    budget.renew()
    dynamo.limit = 2
    budget.spend({"f": 1}, limit_hit=False)
    budget.renew()
    assert dynamo.limit == 2 + 4
    budget.restore()
    assert dynamo.limit == 2


def test_forgotten_code_lends_nothing(dynamo: FakeDynamo):
    budget = RecompileBudget()
    budget.spend({"f": 10}, limit_hit=False)
    budget.renew()
    assert dynamo.limit == 18
    budget.forget()
    budget.renew()
    assert dynamo.limit == 8


def test_many_functions_lend_each_other_next_to_nothing(dynamo: FakeDynamo):
    budget = RecompileBudget()
    budget.spend({f"f{number}": 1 for number in range(100)}, limit_hit=False)
    budget.renew()
    assert dynamo.limit == 9


def test_patch_that_brings_an_old_limit_back_is_not_taken_for_the_users(dynamo: FakeDynamo):
    budget = RecompileBudget()
    budget.spend({"f": 10}, limit_hit=False)
    budget.renew()
    before = dynamo.limit
    dynamo.limit = 4
    budget.spend({"f": 5}, limit_hit=False)
    budget.renew()
    assert dynamo.limit == 4 + 15
    dynamo.limit = before
    budget.spend({"f": 5}, limit_hit=False)
    budget.renew()
    assert dynamo.limit <= 8 + 20


def test_torch_without_a_known_limit_loses_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(private, "recompile_limit", lambda: None)
    budget = limits.RecompileBudget()
    budget.spend({"f": 1000}, limit_hit=True)
    budget.renew()
    budget.restore()
    assert budget.resets == 0
