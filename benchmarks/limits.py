"""What it costs that no test's recompiles use up another's limit.

300 tests call one compiled function with 20 shapes, in sessions of three ways that take
turns: without the plugin, where Dynamo runs the function eager past its limit; without it
and with ``torch._dynamo.reset()`` before each test; and with it, where each test has a
limit of its own. Prints a Markdown table.
Usage: python benchmarks/limits.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS, SHAPES = 300, 20
SUITE = f"""
import os
import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager

ran = []

def backend(graph, inputs):
    compiled = aot_eager(graph, inputs)
    def run(*values):
        ran.append(1)
        return compiled(*values)
    return run

@torch.compile(backend=backend, dynamic=False)
def function(x):
    return (x.sin() + 1).sum()

@pytest.fixture(autouse=True)
def reset():
    if os.environ.get("RESET"):
        torch._dynamo.reset()

@pytest.mark.parametrize("number", range({TESTS}))
def test_function(number):
    function(torch.ones(number % {SHAPES} + 2))

def test_last():
    print("ran compiled:", len(ran))
"""
WITHOUT = "-p", "no:compilecache"
WAYS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "without the plugin": (WITHOUT, {}),
    "without it, reset before each test": (WITHOUT, {"RESET": "1"}),
    "with the plugin and isolation=limit": (("--compilecache-isolation=limit",), {}),
}


def session(folder: Path, way: str) -> tuple[float, str]:
    """Seconds of one session, and how many of its calls ran compiled."""
    extra, variables = WAYS[way]
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *extra]
    environ = {**os.environ, "HOME": str(folder), **variables}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True)
    took = time.perf_counter() - started
    said = next(line for line in done.stdout.decode().splitlines() if "ran compiled:" in line)
    return took, said.rsplit(": ", 1)[1].rstrip(".")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_limits.py").write_text(SUITE)
        session(folder, "with the plugin and isolation=limit")  # warms the file system's cache
        found = [{way: session(folder, way) for way in WAYS} for _ in range(rounds)]
    print(
        "| sessions | rounds | median s | ms a test more than without the plugin | ran compiled |"
    )
    print("|---|--:|--:|--:|--:|")
    for way in WAYS:
        more = [1000 * (each[way][0] - each["without the plugin"][0]) / TESTS for each in found]
        added = f"{statistics.median(more):.2f} ({min(more):.2f} to {max(more):.2f})"
        counts = ", ".join(sorted({each[way][1] for each in found}))
        median = statistics.median(each[way][0] for each in found)
        print(f"| {way} | {rounds} | {median:.2f} | {added} | {counts} of {TESTS} |")


if __name__ == "__main__":
    main()
