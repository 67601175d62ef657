import pytest


def test_asks_for_an_unknown_fixture(compiled_modell):
    pass


@pytest.mark.parametrize("number", [1], ids=["one", "two"])
def test_wrong_parameters(number):
    pass
