import pytest


def test_a():
    pass


def test_b():
    pytest.exit("enough", returncode=7)


def test_c():
    raise AssertionError
