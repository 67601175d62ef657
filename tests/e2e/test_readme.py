"""The words of the README and of the first page, taken literally."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.machine import Machine, write_project

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_example_of_the_readme_is_cold_then_warm(machine: Machine, tmp_path: Path):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    project = write_project(tmp_path / "project", test_model=example)
    store = f"--compilecache-store={tmp_path / 'store'}"
    cold = machine.pytest(store, cwd=project)
    assert cold.code == 0, cold.out
    cold.line(r"not warm: 1 of 1 compiled test cold")
    machine.start_over()
    warm = machine.pytest(store, cwd=project)
    assert warm.code == 0, warm.out
    warm.line(r"^compilecache: warm: 1 compiled test, 1 hit, 0 builds")


def test_example_of_the_first_page_passes(machine: Machine, tmp_path: Path):
    page = (ROOT / "docs" / "index.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    run = machine.pytest(cwd=write_project(tmp_path / "project", test_model=example))
    assert run.code == 0, run.out
    run.line(r"not warm: 1 of 1 compiled test cold")
