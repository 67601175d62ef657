"""What the plugin costs a suite that never compiles: against ``-p no:compilecache``, interleaved.

And what it adds to ``import torch``, with its bytecode there. Prints Markdown tables.
Usage: python benchmarks/startup.py [--pairs N] [--imports N]
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TypeAlias

Series: TypeAlias = list[tuple[float, float]]
COUNT = 1000
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
IMPORT = """
import os
import sys
import time

wall, processor = time.perf_counter(), time.process_time()
import torch
wall, processor = time.perf_counter() - wall, time.process_time() - processor
ours = sum(name.startswith("pytest_compilecache") for name in sys.modules)

def test_import():
    with open(os.environ["FOUND"], "w") as file:
        print(wall, processor, ours, file=file)
"""


def seconds(folder: Path, extra: tuple[str, ...], environ: dict[str, str]) -> tuple[float, float]:
    """Wall and processor seconds of one session."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *extra]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env=environ, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sessions(folder: Path, pairs: int, environ: dict[str, str]) -> dict[tuple[str, ...], Series]:
    """Seconds of sessions with and without the plugin, in random order within each pair."""
    found: dict[tuple[str, ...], Series] = {WITH: [], WITHOUT: []}
    seconds(folder, WITH, environ)  # warms the file system's cache
    for _ in range(pairs):
        for extra in random.sample((WITH, WITHOUT), k=2):
            found[extra].append(seconds(folder, extra, environ))
    return found


def imports(
    folder: Path, pairs: int, environ: dict[str, str]
) -> tuple[dict[tuple[str, ...], Series], int]:
    """Seconds of ``import torch`` with and without the plugin, and how many modules are ours."""
    found: dict[tuple[str, ...], Series] = {WITH: [], WITHOUT: []}
    file, modules = folder / "found", 0
    environ = {**environ, "FOUND": str(file)}
    for way in (WITH, WITHOUT):
        seconds(folder, way, environ)  # writes the bytecode, and fills the file system's cache
    for _ in range(pairs):
        for extra in random.sample((WITH, WITHOUT), k=2):
            seconds(folder, extra, environ)
            wall, processor, ours = file.read_text().split()
            found[extra].append((float(wall), float(processor)))
            modules = max(modules, int(ours))
    return found, modules


def added(found: dict[tuple[str, ...], Series], kind: int, quarter: int) -> tuple[float, ...]:
    """What the plugin adds at a quartile, with the 95 % interval of a bootstrap, in seconds."""
    with_, without = ([each[kind] for each in found[extra]] for extra in (WITH, WITHOUT))

    def difference(ours: list[float], theirs: list[float]) -> float:
        quartile_of = [statistics.quantiles(values, n=4)[quarter] for values in (ours, theirs)]
        return quartile_of[0] - quartile_of[1]

    drawn = sorted(
        difference(random.choices(with_, k=len(with_)), random.choices(without, k=len(without)))
        for _ in range(2000)
    )
    return difference(with_, without), drawn[50], drawn[-50]


def row(name: str, values: tuple[float, ...], scale: float, target: str) -> str:
    """One row of the table."""
    middle, low, high = (scale * value for value in values)
    return f"| {name} | {middle:.3f} | {low:.3f} to {high:.3f} | {target} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=40, help="pairs of sessions with 1,000 tests")
    parser.add_argument("--imports", type=int, default=30, help="pairs of imports of torch")
    parsed = parser.parse_args()
    pairs = parsed.pairs
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "HOME": home, "PYTHONDONTWRITEBYTECODE": ""}
        found = {}
        for count, rounds in ((0, 5 * pairs), (COUNT, pairs)):
            folder = Path(home, f"trivial_{count}")
            folder.mkdir()
            (folder / "pytest.ini").write_text("[pytest]\n")
            (folder / "test_trivial.py").write_text(TEXT.format(count=count))
            found[count] = sessions(folder, rounds, environ)
        folder = Path(home, "imports")
        folder.mkdir()
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_import.py").write_text(IMPORT)
        importing, modules = imports(folder, parsed.imports, environ)
    counted = f"{parsed.imports} pairs, {modules} modules of ours"
    print(f"\n| added to import torch, ms ({counted}) | | 95 % | target |")
    print("|---|---|---|---|")
    for kind, clock in enumerate(("wall", "processor")):
        for quarter, quartile in ((1, "median"), (0, "lower quartile")):
            print(
                row(f"{quartile} of {clock} time", added(importing, kind, quarter), 1000, "<= 20")
            )
    print(f"\n| added by the plugin, ms ({5 * pairs} and {pairs} pairs) | | 95 % | target |")
    print("|---|---|---|---|")
    for kind, clock in enumerate(("wall", "processor")):
        for quarter, quartile in ((1, "median"), (0, "lower quartile")):
            start, many = added(found[0], kind, quarter), added(found[COUNT], kind, quarter)
            each = tuple(value - start[0] for value in many)
            what = f"{quartile} of {clock} time"
            print(row(f"start-up, {what}", start, 1000, "<= 10"))
            print(row(f"per trivial test, {what}", each, 1000 / COUNT, "<= 0.1"))


if __name__ == "__main__":
    main()
