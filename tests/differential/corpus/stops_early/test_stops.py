import pytest


def test_a():
    pass


def test_b():
    raise AssertionError("first")


def test_c():
    raise AssertionError("second")


def test_d():
    pytest.fail("third")
