"""A conftest that steers instructions and compiler, before it imports torch."""

import os
import shutil

import torch


def test_capability_is_the_users():
    assert os.environ["ATEN_CPU_CAPABILITY"] == "default"
    assert torch.backends.cpu.get_cpu_capability() == "DEFAULT"


def test_compiler_is_the_users():
    torch.compile(lambda x: x.sin() + 62)(torch.ones(3))
    assert os.environ["CXX"] == shutil.which("g++")


def test_variables_reach_children():
    said = os.popen("echo $ATEN_CPU_CAPABILITY $CXX").read().split()
    assert said == ["default", shutil.which("g++")]
