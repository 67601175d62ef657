"""The benchmarks' plain fixtures have all that the zoo asks for, or nothing could be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.machine import Machine

ROOT = Path(__file__).parents[2]


def test_every_test_of_the_zoo_finds_its_fixtures_without_us(machine: Machine):
    pytest.importorskip("transformers")
    plain = ("-p", "no:compilecache", "-p", "plain_fixtures")
    zoo = str(ROOT / "examples" / "model_zoo")
    # Looks for every fixture, and runs none.
    run = machine.pytest(
        "--setup-plan", *plain, zoo, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "benchmarks")}
    )
    assert run.code == 0, run.out
    assert "SETUP    F assert_matches_eager" in run.out
