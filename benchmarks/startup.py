"""What the plugin costs a suite that never compiles: against ``-p no:compilecache``, interleaved.

Prints a Markdown table. Usage: python benchmarks/startup.py [--pairs N]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WITH: tuple[str, ...] = ()
WITHOUT = ("-p", "no:compilecache")
TEXT = """
import sys
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_trivial(number):
    pass

def test_torch_was_never_imported():
    assert "torch" not in sys.modules
"""


def seconds(folder: Path, extra: tuple[str, ...], environ: dict[str, str]) -> tuple[float, float]:
    """Wall and processor seconds of one session."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *extra]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def differences(
    folder: Path, pairs: int, environ: dict[str, str]
) -> tuple[list[float], list[float]]:
    """Seconds that the plugin adds, pair by pair, the order changing from pair to pair."""
    wall, processor = [], []
    for number in range(pairs + 1):
        order = (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH)
        took = {extra: seconds(folder, extra, environ) for extra in order}
        if number:  # the first pair warms the file system's cache
            wall.append(took[WITH][0] - took[WITHOUT][0])
            processor.append(took[WITH][1] - took[WITHOUT][1])
    return wall, processor


def row(name: str, values: list[float], target: str) -> str:
    """One row of the table, in milliseconds."""
    low, middle, high = (1000 * value for value in quartiles(values))
    return f"| {name} | {middle:.3f} | {low:.3f} to {high:.3f} | {target} |"


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile."""
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HOME": home, "PYTHONDONTWRITEBYTECODE": ""}
        found = {}
        for count in (0, 1000):
            folder = Path(home, f"trivial_{count}")
            folder.mkdir()
            (folder / "pytest.ini").write_text("[pytest]\n")
            (folder / "test_trivial.py").write_text(TEXT.format(count=count))
            found[count] = differences(folder, pairs, environ)
    print(f"\n| added by the plugin ({pairs} pairs) | median ms | quartiles | target |")
    print("|---|---|---|---|")
    for number, kind in enumerate(("wall", "processor")):
        few, many = found[0][number], found[1000][number]
        start = statistics.median(few)
        each = [(difference - start) / 1000 for difference in many]
        print(row(f"start-up, {kind} time", few, "<= 10"))
        print(row(f"per trivial test, {kind} time", each, "<= 0.1"))


if __name__ == "__main__":
    main()
