import pytest


def test_fixtures_are_ours(compiled_model, compile_model, compile_stats):
    assert compile_model(compiled_model) == "OUR MODEL, COMPILED"
    assert compile_stats == {"files": 3}


def test_parametrized(compile_cache):
    assert compile_cache in "ab"


@pytest.fixture
def assert_matches_eager(compiled_model):
    return lambda: compiled_model


def test_of_a_module(assert_matches_eager):
    assert assert_matches_eager() == "our model, compiled"
