import sys

import pytest


def test_torch_is_not_imported():
    assert "torch" not in sys.modules


@pytest.mark.parametrize("number", range(3))
def test_numbers(number):
    assert number < 2


def test_prints(capsys):
    print("hello")
    assert capsys.readouterr().out == "hello\n"
