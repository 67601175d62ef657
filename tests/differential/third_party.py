"""Runs any folder of tests without the plugin, with it, and once more, and prints what changed.

``python -m tests.differential.third_party FOLDER [pytest's arguments]``, from the root of the
repository, in an environment in which the tests of that folder run. It is no part of the suite:
it is for the test suites of others, such as PyTorch's own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.differential.allowed import row_of
from tests.differential.comparing import differences
from tests.differential.sessions import ALWAYS, COLD, WARM, WITHOUT, run_drive
from tests.e2e.machine import Machine

# What two runs without the plugin differ in as well: order of ids, random names, times.
KINDS = ("exit code", "tests collected", "outcome", "after", "replaced")


def main(folder: Path, arguments: list[str]) -> int:
    """Run, compare and print; the exit code is 1 where an outcome changed."""
    with tempfile.TemporaryDirectory(prefix="differential-") as place:
        root = Path(place)
        machine = Machine(root / "machine")
        shown = {}
        for run in (WITHOUT, COLD, WARM):
            if run != WARM:
                machine.start_over()
            session = [str(folder), *ALWAYS, "-q", *arguments]
            shown[run], done, seconds = run_drive(machine, [session], root, run, folder)
            last = done.out.strip().splitlines()[-1:]
            print(f"{run}: {seconds:.0f} s, {_outcomes(shown[run])}; {' '.join(last)}", flush=True)
            (Path.cwd() / f"differential-{run}.json").write_text(json.dumps(shown[run], indent=1))
    changed = 0
    for run in (COLD, WARM):
        for each in differences(folder.name, run, shown[WITHOUT], shown[run]):
            if each.fact.startswith(KINDS) and not row_of(each):
                changed += each.fact.startswith("outcome")
                print(each)
    print(f"{changed} outcomes changed")
    return int(bool(changed))


def _outcomes(shown: dict[str, object]) -> str:
    (session,) = shown["sessions"]
    calls = {key: text for key, text in session["outcomes"].items() if key.endswith(" call")}
    counts = Counter(text.split()[0] for text in calls.values())
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
