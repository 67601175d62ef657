"""What a conftest sets before it imports torch is followed, as what a shell sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machine import Machine

SUITE = """
    import json
    import os

    import pytest
    import torch

    NAMES = ("TORCHINDUCTOR_CACHE_DIR", "ATEN_CPU_CAPABILITY", "CXX")

    @pytest.mark.parametrize("number", range(2))
    def test_facts(number, compile_cache, record_property):
        facts = {name: os.environ.get(name) for name in NAMES}
        facts["environment"] = compile_cache.environment
        facts["directory"] = str(compile_cache.directory)
        with open(f"facts-{number}.json", "w") as file:
            json.dump(facts, file)
"""
CONFTEST = """
    import os
    os.environ.update({values!r})
    import torch
"""
# One process, two workers, and two workers whose controller does not import torch.
PROCESSES = pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "two workers"])


def facts_of(
    values: dict[str, str], arguments: tuple[str, ...], machine: Machine,
    project: Callable[..., Path],
) -> dict[str, Any]:  # fmt: skip
    folder = project(test_suite=SUITE, conftest=CONFTEST.format(values=values))
    run = machine.pytest(*arguments, cwd=folder)
    assert run.code == 0, run.out
    first, other = (json.loads((folder / f"facts-{number}.json").read_text()) for number in (0, 1))
    assert first == other
    return dict(first)


@PROCESSES
def test_folder_for_artifacts(
    arguments: tuple[str, ...], machine: Machine, project: Callable[..., Path], tmp_path: Path
):
    mine = str(tmp_path / "mine")
    facts = facts_of({"TORCHINDUCTOR_CACHE_DIR": mine}, arguments, machine, project)
    assert facts["TORCHINDUCTOR_CACHE_DIR"] == facts["directory"] == mine


@PROCESSES
def test_vector_instructions_and_compiler_are_those_of_the_environment(
    arguments: tuple[str, ...], machine: Machine, project: Callable[..., Path], tmp_path: Path
):
    compiler = tmp_path / "bin" / "g++"
    compiler.parent.mkdir()
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "mine 1.2.3" || exec g++ "$@"\n')
    compiler.chmod(0o755)
    values = {"ATEN_CPU_CAPABILITY": "avx2", "CXX": str(compiler)}
    facts = facts_of(values, arguments, machine, project)
    by_shell = machine.python(
        "from pytest_compilecache.environment import detect_environment\n"
        "import os\nprint(detect_environment(os.environ).id)",
        cwd=tmp_path,
        env=values,
    )
    assert facts["environment"] == by_shell.out.strip()
    assert "avx2" in facts["environment"]


REFUSED = """
    import os
    import pytest
    import torch

    def test_variable_stays_and_torch_works_there():
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == {mine!r}
        torch.compile(lambda x: x.sin())(torch.ones(3))
"""
TWICE = """
    import os, pytest
    before = dict(os.environ)
    code = pytest.main(["-q", "-p", "no:cacheprovider", "--compilecache-store=store"])
    changed = {{k for k in {{*before, *os.environ}} if before.get(k) != os.environ.get(k)}}
    torchs = {{"_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"}}
    print("ENDED", int(code), sorted(changed - torchs - {{"PYTEST_VERSION"}}))
"""


def test_folder_that_others_can_write_to_is_refused_and_the_variable_stays(
    machine: Machine, project: Callable[..., Path], tmp_path: Path
):
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o775)
    folder = project(test_suite=REFUSED.format(mine=str(mine)))
    run = machine.python(TWICE.format(), cwd=folder, env={"TORCHINDUCTOR_CACHE_DIR": str(mine)})
    assert "ENDED 0 []" in run.out, run.out
    run.line(rf"warning: {mine}: .*written to by others.*chmod go-w {mine}")
    assert run.out.count("warning: ") == 1
    assert list(mine.rglob("*.so"))  # where torch works without us
    # What anybody could have written there is published to nobody.
    assert not list((folder / "store").rglob("*.pack"))
