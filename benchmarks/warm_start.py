"""How long the model zoo takes cold, left in place, and restored in three ways, interleaved.

"Restored" is a new process on a machine whose HOME, TMPDIR and workspace were
deleted. Prints a Markdown table of ratios to "left in place", round by round.
Usage: python benchmarks/warm_start.py [--rounds 7] [--others 3] [pytest arguments]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ZOO = HERE.parent / "examples" / "model_zoo"
SHIM = """#!/bin/sh
case " $* " in
  *" -E "*|*" --version "*|*" -v "*) ;;
  *" -o "*) echo x >> "$SHIM_LOG" ;;
esac
exec "$SHIM_REAL" "$@"
"""


class Bench:
    """The folders of all ways, and one session of each."""

    def __init__(self, scratch: Path, arguments: list[str]) -> None:
        self.scratch = scratch
        self.arguments = arguments
        self.store = scratch / "store"
        self.copied = scratch / "copied"
        self.bundle = scratch / "bundle"
        self.builds: dict[str, list[int]] = {}
        self.bin = scratch / "bin"
        self.bin.mkdir()
        (self.bin / "g++").write_text(SHIM)
        (self.bin / "g++").chmod(0o755)

    def session(self, way: str, machine: str, *extra: str, **variables: str) -> float:
        """Seconds of one session; its builds are noted."""
        home, tmp, log = (self.scratch / machine / name for name in ("home", "tmp", "log"))
        for folder in (home, tmp):
            folder.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        drop = re.compile(r"TORCH|TRITON_|COMPILECACHE_|PYTEST_|XDG_|CI$|PYTHONDONTWRITEBYTECODE")
        environ = {key: value for key, value in os.environ.items() if not drop.match(key)}
        environ |= {
            "HOME": str(home), "TMPDIR": str(tmp), "PYTHONPATH": str(HERE),
            "PATH": f"{self.bin}{os.pathsep}{environ['PATH']}", "SHIM_LOG": str(log),
            "SHIM_REAL": shutil.which("g++", path=environ["PATH"]) or "g++", **variables,
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ZOO)]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, *extra, *self.arguments], cwd=ZOO, env=environ, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(f"{way} failed:\n{done.stdout}")
        self.builds.setdefault(way, []).append(len(log.read_text().splitlines()))
        print(f"{way}: {seconds:.1f} s, {self.builds[way][-1]} builds", flush=True)
        return seconds

    def wipe(self, machine: str) -> None:
        """A machine as new."""
        shutil.rmtree(self.scratch / machine, ignore_errors=True)

    def ours(self) -> tuple[str, str]:
        """Arguments of a session with us and the store."""
        return (f"--compilecache-store={self.store}", "--compilecache-save=always")

    def cold(self) -> float:
        """Nothing is there; the store is not used either."""
        self.wipe("cold")
        return self.session("cold", "cold")

    def in_place(self) -> float:
        """The workspace of the session before, untouched."""
        return self.session("left in place", "stays", *self.ours())

    def restored(self) -> float:
        """By us, from the store."""
        self.wipe("new")
        return self.session("restored by us", "new", *self.ours())

    def copy(self) -> float:
        """TORCHINDUCTOR_CACHE_DIR copied to a new place; headers stay behind."""
        self.wipe("copy")
        target = self.scratch / "copy" / "inductor"
        started = time.perf_counter()
        shutil.copytree(self.copied, target)
        copying = time.perf_counter() - started
        return copying + self.plain("plain copy of the directory", "copy", target)

    def mega(self) -> float:
        """torch.compiler.load_cache_artifacts."""
        self.wipe("mega")
        target = self.scratch / "mega" / "inductor"
        return self.plain("torch.compiler.load_cache_artifacts", "mega", target, "-p", "mega_cache")

    def plain(self, way: str, machine: str, directory: Path, *extra: str) -> float:
        """A session without us."""
        return self.session(
            way, machine, "-p", "no:compilecache", "-p", "plain_fixtures", *extra,
            TORCHINDUCTOR_CACHE_DIR=str(directory), MEGA_CACHE_FILE=str(self.bundle),
        )  # fmt: skip

    def prepare(self) -> None:
        """One cold session of each way, whose traces the others start from."""
        self.session("(prepare ours)", "stays", *self.ours())
        self.plain("(prepare plain)", "plain", self.copied, "-p", "mega_cache")


def table(bench: Bench, times: dict[str, list[float]]) -> None:
    """Print the medians and the ratios, round by round."""
    print("\n| way | rounds | median s | ratio to left in place: median (min to max) | builds |")
    print("|---|---|---|---|---|")
    base = times["left in place"]
    for way, taken in times.items():
        ratios = [one / other for one, other in zip(taken, base, strict=False)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        builds = sorted(set(bench.builds[way]))
        print(f"| {way} | {len(taken)} | {statistics.median(taken):.1f} | {spread} | {builds} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--others", type=int, default=3, help="rounds of the slower ways")
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="compilecache-bench-") as folder:
        bench = Bench(Path(folder), arguments)
        bench.prepare()
        pair: list[tuple[str, Callable[[], float]]] = [
            ("left in place", bench.in_place),
            ("restored by us", bench.restored),
        ]
        others = [
            ("plain copy of the directory", bench.copy),
            ("torch.compiler.load_cache_artifacts", bench.mega),
            ("cold", bench.cold),
        ]
        times: dict[str, list[float]] = {way: [] for way, _ in (*pair, *others)}
        for number in range(options.rounds):
            # Whoever is second finds the file system's cache warmer: take turns.
            for way, run in pair if number % 2 else reversed(pair):
                times[way].append(run())
            for way, run in others if number < options.others else ():
                times[way].append(run())
        table(bench, times)


if __name__ == "__main__":
    main()
