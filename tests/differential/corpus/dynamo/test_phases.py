"""Outcomes of all kinds, in all phases."""

import pytest
import torch


def refuses(graph, inputs):
    raise ValueError("refused")


@pytest.fixture
def broken_setup():
    torch.compile(lambda x: x + 1, backend=refuses)(torch.ones(3))


@pytest.fixture
def broken_teardown():
    yield
    torch.compile(lambda x: x + 2, backend=refuses)(torch.ones(3))


def test_setup_error(broken_setup):
    raise AssertionError


def test_teardown_error(broken_teardown):
    pass


def test_fails_and_so_does_its_teardown(broken_teardown):
    raise AssertionError("first")


@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    torch.compile(lambda x: x + 3, backend=refuses)(torch.ones(3))


@pytest.mark.xfail(strict=True)
def test_passes_although_expected_to_fail():
    torch.compile(lambda x: x + 3, backend="eager")(torch.ones(3))


@pytest.mark.xfail(raises=KeyError, strict=False)
def test_fails_with_another_error_than_expected():
    torch.compile(lambda x: x + 4, backend=refuses)(torch.ones(3))


@pytest.mark.xfail(run=False)
def test_is_not_run():
    raise AssertionError


def test_skips_itself():
    pytest.skip("after all")


@pytest.mark.skipif(torch.__version__ > "0", reason="always")
def test_is_skipped():
    raise AssertionError


def test_xfails_itself():
    pytest.xfail("not yet")


def test_skips_within_a_compiled_function():
    def skips(x):
        torch._dynamo.graph_break()
        pytest.skip("from within")

    torch.compile(skips, backend="eager")(torch.ones(3))


def test_fails_by_name():
    pytest.fail("by name", pytrace=False)
