"""The module that Inductor runs its C++ compiler by, mocked."""

import subprocess
from unittest import mock

import pytest
import torch
from torch._inductor import cpp_builder


def test_module_is_the_standard_librarys():
    assert cpp_builder.subprocess is subprocess


def test_failing_compiler():
    failure = subprocess.CalledProcessError(1, ["g++"], output=b"no such thing")
    with (
        mock.patch("torch._inductor.cpp_builder.subprocess.run", side_effect=failure),
        mock.patch("torch._inductor.cpp_builder.subprocess.check_output", side_effect=failure),
        torch._inductor.config.patch(force_disable_caches=True),
        pytest.raises(Exception, match="no such thing|returned non-zero"),
    ):
        torch.compile(lambda x: x.sin() * 1234.5)(torch.ones(7))


def test_mock_reaches_the_whole_program():
    with mock.patch("torch._inductor.cpp_builder.subprocess.run", return_value="mocked"):
        assert subprocess.run(["true"], check=False) == "mocked"
    assert subprocess.run(["true"], check=False).returncode == 0
