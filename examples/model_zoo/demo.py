"""The main job, shown: the zoo cold, then on a fresh machine from the store, by one worker and two.

Every session has a HOME and a TMPDIR of its own that are deleted after it; only
the store stays. Usage: python examples/model_zoo/demo.py [pytest arguments]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ZOO = Path(__file__).parent
OURS = ("compilecache: ", "not warm: ", "warm: ", "warning: ", "saved ")


@dataclass(frozen=True)
class Session:
    """How one session went."""

    title: str
    seconds: float
    code: int
    said: tuple[str, ...]

    @property
    def warm(self) -> bool:
        """Whether every test was a hit and the compiler built nothing."""
        return any("warm: " in line and "not warm: " not in line for line in self.said)


def run(title: str, scratch: Path, *arguments: str) -> Session:
    """Run the zoo on a machine that has nothing but the store."""
    machine = scratch / "machine"
    for name in ("home", "tmp"):
        (machine / name).mkdir(parents=True)
    environ = {key: value for key, value in os.environ.items() if not ours_or_torchs(key)}
    environ |= {"HOME": str(machine / "home"), "TMPDIR": str(machine / "tmp")}
    command = [sys.executable, "-m", "pytest", str(ZOO), "-p", "no:cacheprovider"]
    command += [f"--compilecache-store={scratch / 'store'}", "--compilecache-save=always"]
    print(f"\n=== {title}: {' '.join(['pytest', 'examples/model_zoo', *arguments])}", flush=True)
    started = time.perf_counter()
    done = subprocess.run(
        [*command, *arguments], cwd=ZOO.parent, env=environ, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    shutil.rmtree(machine)
    print(done.stdout, flush=True)
    said = tuple(line for line in done.stdout.splitlines() if line.startswith(OURS))
    return Session(title, seconds, done.returncode, said)


def ours_or_torchs(name: str) -> bool:
    """Whether a variable of the caller would change what the demo shows."""
    prefixes = ("TORCHINDUCTOR_", "TORCH_COMPILE", "TRITON_", "COMPILECACHE_", "PYTEST_", "XDG_")
    return name.startswith(prefixes)


def main() -> int:
    """Run the three sessions, print what each took, and fail if one was not as promised."""
    arguments = sys.argv[1:]
    scratch = Path(tempfile.mkdtemp(prefix="compilecache-demo-"))
    try:
        sessions = [
            # By two workers: by one it takes minutes more, and the ratios would flatter.
            run("cold, two workers", scratch, "-n", "2", *arguments),
            run("restored on a fresh machine", scratch, *arguments),
            run("restored, two workers", scratch, "-n", "2", *arguments),
        ]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    cold = sessions[0]
    print("| session | seconds | of the cold time | all tests hit, nothing built |")
    print("|---|---|---|---|")
    for one in sessions:
        share = f"{one.seconds / cold.seconds:.2f}"
        print(f"| {one.title} | {one.seconds:.1f} | {share} | {'yes' if one.warm else 'no'} |")
    as_promised = all(one.code == 0 for one in sessions) and all(one.warm for one in sessions[1:])
    return 0 if as_promised else 1


if __name__ == "__main__":
    sys.exit(main())
