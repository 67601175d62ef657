"""Under pytest-xdist."""

import os

import pytest
import torch


def refuses(graph, inputs):
    raise ValueError("refused")


@pytest.mark.parametrize("number", range(4))
def test_compiles(number):
    got = torch.compile(lambda x: x + number, backend="aot_eager")(torch.zeros(2))
    assert got.tolist() == [number, number]


def test_fails():
    torch.compile(lambda x: x + 1, backend=refuses)(torch.zeros(2))


def test_fails_as_expected():
    with pytest.raises(Exception, match="refused"):
        torch.compile(lambda x: x + 1, backend=refuses)(torch.zeros(2))


def test_variables_of_a_worker():
    assert os.environ["OF_THE_CONFTEST"] == "1"
    assert "PYTEST_XDIST_WORKER" in os.environ
