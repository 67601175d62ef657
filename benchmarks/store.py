"""What a save and a restore of 10,000 files, 500 MB, cost, against others who move the tree.

All steps of a round run in turn, in another order each round, and what counts
is the ratio within a round. All runs are with a warm page cache, and what is
dirty is synced before each step. Prints Markdown tables.
Usage: python benchmarks/store.py [--rounds 5] [--saves 1000] [--scratch FOLDER]
       [--b10-python PATH | --without-b10]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import store_tables
from artifact_tree import BYTES, FILES, write_artifacts, write_tree
from store_rivals import HERE, B10Transfer, Tar, copy
from store_tables import Row

STAMP = "compilecache-environment"
RESTORE, SAVE = "restore into an empty workspace", "first save"
NOTHING_NEW = "save with nothing new"
AFTER_RESTORE = "save with nothing new, the first after a restore"
NOTHING_MISSING = "restore with nothing missing"
MORE = "save with 1 % new"


class Bench:
    """The folders, the steps, and what they took."""

    def __init__(self, scratch: Path, options: argparse.Namespace) -> None:
        self.scratch = scratch
        self.live = scratch / "live"
        self.tree = self.live / "tree"
        self.store = scratch / "store"
        self.history = scratch / "history"
        self.saves: int = options.saves
        self.tar = Tar(scratch / "tree.tar.zst")
        self.b10 = None if options.without_b10 else B10Transfer(scratch, options.b10_python)
        self.times: dict[str, list[float]] = defaultdict(list)
        self.peaks: dict[str, list[int]] = defaultdict(list)
        self.growth: list[float] = []
        self.stored: dict[str, int] = {}
        self.b10_says: dict[str, str] = {}

    def rows(self) -> list[Row]:
        """What is told, beside its target."""
        pack, unpack = f"{self.tar.name}: pack", f"{self.tar.name}: unpack"
        return [
            Row("cp -r"),
            Row(RESTORE, "cp -r", 1.2),
            Row(RESTORE, unpack),
            Row(self.after_saves, RESTORE),
            Row(NOTHING_MISSING),
            Row(unpack, "cp -r"),
            Row("b10-transfer: load", "cp -r"),
            Row(SAVE, pack),
            Row(NOTHING_NEW, target=0.2),
            Row(AFTER_RESTORE, target=0.2),
            Row(MORE),
            Row(pack),
            Row("b10-transfer: save", pack),
            Row("b10-transfer: save with nothing new"),
            Row("b10-transfer: save with 1 % new"),
        ]

    @property
    def after_saves(self) -> str:
        """The step that restores what many saves left."""
        return f"{RESTORE}, after {self.saves} saves"

    def ours(self, name: str, action: str, root: Path, store: Path) -> dict[str, Any]:
        """One operation of ours, noted under a name."""
        found = operation(action, root, store)
        if found["troubles"]:
            sys.exit(f"{name}: {found['troubles']}")
        self.note(name, found["seconds"])
        beside = operation("idle", *found["modules"])
        self.peaks[action].append(found["peak"] - beside["peak"])
        return found

    def note(self, name: str, seconds: float) -> None:
        """Keep the seconds of a step."""
        self.times[name].append(seconds)
        print(f"{name}: {seconds:.3f} s", flush=True, file=sys.stderr)

    def prepare(self) -> None:
        """Write the tree once and, where asked, grow a store by many saves."""
        write_tree(self.tree)
        if self.saves:
            found = operation("grow", self.scratch / "grown", self.history, self.tree, self.saves)
            self.growth = found["seconds"]
            shutil.rmtree(self.scratch / "grown")

    def round(self, number: int) -> None:
        """Each step once."""
        savers: list[Callable[[], None]] = [self.first_save, self.tar_pack]
        restorers = [self.copied, self.restored, self.tar_unpack]
        if self.saves:
            restorers.append(self.restored_after_saves)
        if self.b10 is not None and not self.b10.missing:
            savers.append(self.b10_save)
            restorers.append(self.b10_load)
        for steps in (savers, [self.save_nothing_new], restorers, [self.save_more]):
            turn = number % len(steps)
            for step in steps[turn:] + steps[:turn]:
                step()

    def first_save(self) -> None:
        """All into an empty store, out of a workspace that nobody looked at before."""
        for folder in (self.store, self.live / "state"):
            shutil.rmtree(folder, ignore_errors=True)
        self.live.joinpath("state").mkdir(mode=0o700)
        found = self.ours(SAVE, "save", self.live, self.store)
        expect(found["files"] == FILES, f"{found['files']} files were saved")
        packs = self.store.rglob("*.pack")
        self.stored["this package"] = sum(each.stat().st_size for each in packs)

    def save_nothing_new(self) -> None:
        """The same again."""
        found = self.ours(NOTHING_NEW, "save", self.live, self.store)
        expect(found["status"] == "skipped", f"saved {found['files']} files for nothing")

    def save_more(self) -> None:
        """A hundred files more."""
        with self.more_files(len(self.times[MORE]) + 1):
            found = self.ours(MORE, "save", self.live, self.store)
            expect(found["files"] == FILES // 100, f"{found['files']} files were saved")
            if "b10-transfer: save" in self.times:
                self.b10_act("save", "b10-transfer: save with 1 % new", self.tree)

    def copied(self) -> None:
        """Copy the tree."""
        with self.target() as root:
            os.sync()
            self.note("cp -r", copy(self.tree, root / "tree"))
            verify(root / "tree")

    def restored(self) -> None:
        """From one pack; then what a session does that compiles nothing."""
        with self.target() as root:
            self.ours(RESTORE, "restore", root, self.store)
            verify(root / "tree")
            found = self.ours(AFTER_RESTORE, "save", root, self.store)
            expect(found["status"] == "skipped", f"saved {found['files']} files for nothing")
            self.ours(NOTHING_MISSING, "restore", root, self.store)

    def restored_after_saves(self) -> None:
        """From what many saves left."""
        with self.target() as root:
            self.ours(self.after_saves, "restore", root, self.history)
            verify(root / "tree")

    def tar_pack(self) -> None:
        """Pack the tree."""
        os.sync()
        self.note(f"{self.tar.name}: pack", self.tar.pack(self.tree))
        self.stored[self.tar.name] = self.tar.archive.stat().st_size

    def tar_unpack(self) -> None:
        """Unpack the tree."""
        with self.target() as root:
            os.sync()
            self.note(f"{self.tar.name}: unpack", self.tar.unpack(root / "tree"))
            verify(root / "tree")

    def b10_save(self) -> None:
        """A first save by b10-transfer."""
        assert self.b10 is not None
        shutil.rmtree(self.b10.store, ignore_errors=True)
        self.b10_act("save", "b10-transfer: save", self.tree)
        self.b10_act("save", "b10-transfer: save with nothing new", self.tree)
        archives = self.b10.store.glob("*.tar.gz")
        self.stored["b10-transfer"] = sum(each.stat().st_size for each in archives)

    def b10_load(self) -> None:
        """A load by b10-transfer."""
        with self.target() as root:
            self.b10_act("load", "b10-transfer: load", root / "tree")
            verify(root / "tree")

    def b10_act(self, action: str, name: str, tree: Path) -> None:
        """One operation of b10-transfer."""
        assert self.b10 is not None
        os.sync()
        seconds, status = self.b10.act(action, tree)
        expect(status in {"success", "skipped"}, f"{name} ended in {status}")
        self.b10_says[name] = status
        self.note(name, seconds)

    @contextlib.contextmanager
    def target(self) -> Iterator[Path]:
        """An empty folder to restore to, removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def more_files(self, seed: int) -> Iterator[None]:
        """More files in the tree, removed afterwards."""
        with self.target() as aside:
            write_artifacts(aside, FILES // 100, seed=seed)
            shutil.copytree(aside, self.tree, dirs_exist_ok=True)
            yield
            for location in [each for each in aside.rglob("*") if each.is_file()]:
                added = self.tree / location.relative_to(aside)
                added.unlink()
                with contextlib.suppress(OSError):  # others live there
                    added.parent.rmdir()


def operation(action: str, *arguments: object) -> dict[str, Any]:
    """What a process of its own says of an operation."""
    os.sync()
    command = [sys.executable, str(HERE / "one_operation.py"), action, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def expect(fact: bool, otherwise: str) -> None:
    """Stop a benchmark that would measure something else."""
    if not fact:
        sys.exit(f"not what was to be measured: {otherwise}")


def verify(tree: Path) -> None:
    """See that everything arrived."""
    files = [each for each in tree.rglob("*") if each.is_file() and each.name != STAMP]
    size = sum(each.stat().st_size for each in files)
    expect((len(files), size) == (FILES, BYTES), f"{len(files)} files of {size} bytes arrived")


def tables(bench: Bench) -> None:
    """Print what was measured."""
    print("\nWarm page cache; what is dirty is synced before each step. Our packs are synced to")
    print("disk within the measured time, what cp, tar and b10-transfer write is not.\n")
    print(store_tables.steps(bench.rows(), bench.times, bench.b10_says))
    if bench.b10 is not None and bench.b10.missing:
        print(f"| b10-transfer | 0 | | not run: {bench.b10.missing} | none |")
    print(f"\n{store_tables.memory(bench.peaks)}\n\n{store_tables.sizes(bench.stored, BYTES)}")
    if bench.growth:
        print(f"\n{store_tables.growth(bench.growth)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--saves", type=int, default=1000, help="0 leaves that row out")
    parser.add_argument("--scratch", help="where the files lie; a tmpfs leaves the disk out")
    parser.add_argument("--b10-python", help="a Python that has b10-transfer and torch")
    parser.add_argument("--without-b10", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="compilecache-bench-", dir=options.scratch) as folder:
        bench = Bench(Path(folder), options)
        try:
            bench.prepare()
            for number in range(options.rounds):
                bench.round(number)
        finally:
            if bench.b10 is not None:
                bench.b10.close()
        tables(bench)


if __name__ == "__main__":
    main()
