"""One restore in a process of its own, told as JSON with the memory that it took.

Usage: python -m tests.security.restore_apart ROOT [PACK...]

Packs are put into the store of the scene after a first restore, so that the
memory told is what they alone took.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from tests.security.scene import Scene


def peak_bytes() -> int:
    """The most memory that this process held.

    Not by getrusage: Linux lets a child begin with what its parent had, and a
    test session is larger than what is measured here.
    """
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def main() -> None:
    root, *packs = sys.argv[1:]
    scene = Scene(Path(root))
    before = 0
    if packs:
        scene.restore()
        shutil.rmtree(scene.workspace.root)
        before = peak_bytes()
        for pack in packs:
            Path(pack).rename(scene.packs / Path(pack).name)
    result = scene.restore()
    json.dump({**result.to_mapping(), "took": peak_bytes() - before}, sys.stdout)


if __name__ == "__main__":
    main()
