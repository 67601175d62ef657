"""Print the table of README.md: what each test builds, and how long that takes cold.

Every test runs alone, in a process that finds no kernels, no precompiled headers and
no cache in the user's home. The last row is the whole suite in one such process.
Options are handed on to pytest:

    python measure.py -k forward
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
WRITE_SECONDS_TO = "--write-seconds-to"
# What else is built for a cache are probes for vector instructions.
KERNEL = re.compile(r'extern "C"\s+void\s+kernel\(')
HEADING = """\
| test | architecture | kernels | cold seconds | of which compiling |
|---|---|--:|--:|--:|"""


@dataclass(frozen=True)
class Measurement:
    """One cold process. Its seconds are wall time, imports included."""

    kernels: int
    seconds: float
    compile_seconds: float

    def __str__(self) -> str:
        share = self.compile_seconds / self.seconds
        return f"{self.kernels} | {self.seconds:.1f} | {share:.0%}"


def print_table(options: list[str]) -> None:
    print(HEADING)
    for test in collect(options):
        function, _, architecture = test.partition("::")[2].rstrip("]").partition("[")
        measured = measure([test, *options])
        print(f"| `{function}` | {architecture} | {measured} |", flush=True)
    print(f"| all, in one process | | {measure(options)} |")


def collect(options: list[str]) -> list[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *options]
    listed = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True)
    return [line for line in listed.stdout.splitlines() if "::" in line]


def measure(arguments: list[str]) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder)
        told = empty / "seconds"
        command = [sys.executable, __file__, WRITE_SECONDS_TO, str(told), "-q", *arguments]
        started = time.monotonic()
        subprocess.run(command, cwd=HERE, check=True, stdout=sys.stderr, env=cold(empty))
        seconds = time.monotonic() - started
        return Measurement(count_kernels(empty), seconds, float(told.read_text()))


def cold(empty: Path) -> dict[str, str]:
    """This environment, with all that torch and the plugin keep below one empty folder."""
    kept = {key: value for key, value in os.environ.items() if "COMPILECACHE" not in key}
    for key in ("TORCHINDUCTOR_CACHE_DIR", "TMPDIR", "XDG_CACHE_HOME"):
        kept[key] = str(empty / key)
        Path(kept[key]).mkdir()
    return kept


def count_kernels(folder: Path) -> int:
    sources = (library.with_suffix(".cpp") for library in folder.rglob("*.so"))
    return sum(1 for source in sources if source.exists() and KERNEL.search(source.read_text()))


def run_tests(told: str, arguments: list[str]) -> int:
    """Run tests in this process, and write down how many seconds torch compiled."""
    status = pytest.main(arguments)
    from torch._dynamo.utils import calculate_time_spent  # noqa: PLC0415 # late, as in tests

    Path(told).write_text(str(calculate_time_spent()["total_wall_time"]))
    return status


if __name__ == "__main__":
    if sys.argv[1:2] == [WRITE_SECONDS_TO]:
        sys.exit(run_tests(sys.argv[2], sys.argv[3:]))
    print_table(sys.argv[1:])
