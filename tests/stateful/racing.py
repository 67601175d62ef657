"""Processes that use one store at the same time, and what each of them does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_compilecache.cache import CacheResult, OperationStatus, restore, save
from pytest_compilecache.limits import Limits
from pytest_compilecache.store import DirectoryStore, directory
from pytest_compilecache.store.prune import prune
from pytest_compilecache.workspace.place import Workspace
from tests.crash.artifacts import names, present, put, wrong
from tests.crash.faults import Call, intercepted
from tests.crash.site import ENVIRONMENT
from tests.stateful.inspection import size_of

_PROJECT = Path(__file__).parents[2]
STOP = "stop"
STORE = "store"


class Racer:
    """A process that does one of the things below.

    Args:
        role: The name of a function below.
        folder: The folder of the race.
        arguments: What else it takes; and ``kernel_locks``, whether it trusts these.
    """

    def __init__(self, role: str, folder: Path, **arguments: Any) -> None:
        command = [sys.executable, "-W", "error", "-m", __name__, role, str(folder)]
        self._process = subprocess.Popen(
            [*command, json.dumps(arguments)],
            cwd=_PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Racer:  # noqa: PYI034  (Self is of Python 3.11)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def wait_for(self, word: str) -> None:
        """Wait until it says that it has come so far."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == word

    def go_on(self) -> None:
        """Let it go on, when it waits for that."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def result(self) -> Any:
        """Wait for its end; what it tells then."""
        out, _ = self._process.communicate(timeout=300)
        assert self._process.returncode == 0
        return json.loads(out.splitlines()[-1])

    def kill(self) -> None:
        """Kill it as it is."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it, so that it is silent and alive."""
        os.kill(self.pid, signal.SIGSTOP)
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)

    def wake(self) -> None:
        """Let it run again."""
        os.kill(self.pid, signal.SIGCONT)


def workspace(folder: Path, machine: object) -> Workspace:
    """The workspace of a machine."""
    root = folder / f"machine-{machine}"
    return Workspace(root, root / "inductor", root / "headers")


def save_on(folder: Path, machine: object, limits: Limits) -> CacheResult:
    """Save what a machine has."""
    return save(workspace(folder, machine), ENVIRONMENT, str(folder / STORE), limits)


def restore_on(folder: Path, machine: object, limits: Limits) -> CacheResult:
    """Bring to a machine what it lacks."""
    return restore(workspace(folder, machine), ENVIRONMENT, str(folder / STORE), limits)


def make(folder: Path, machine: object, paths: list[str]) -> list[str]:
    """Let a compiler make artifacts on a machine."""
    place = workspace(folder, machine)
    place.prepare(ENVIRONMENT.id)
    put(place, paths)
    return paths


def saver(folder: Path, machine: int, saves: int, **limits: Any) -> dict[str, Any]:
    """Save again and again what is partly what others save as well.

    Returns:
        The paths that it was told to be in the store, and the troubles that it was told of.
    """
    made: list[str] = []
    troubles: list[str] = []
    _wait_for_the_start()
    for turn in range(saves):
        made += make(folder, machine, names("s", 2, first=turn))  # as all others do
        made += make(folder, machine, names(f"m{machine}", 1, first=turn))
        results = [save_on(folder, machine, Limits(**limits))]
        if turn % 4 == 3:
            results.append(restore_on(folder, machine, Limits(**limits)))
        troubles += complaints(*results)
    return {"saved": made, "troubles": troubles}


def reader(folder: Path, machine: str, **limits: Any) -> dict[str, Any]:
    """Restore on new machines until told to stop.

    Returns:
        How often it did, the torn files, and the troubles that it was told of.
    """
    told: dict[str, Any] = {"turns": 0, "torn": [], "troubles": []}
    _wait_for_the_start()
    for turn in _until_stopped(folder):
        result = restore_on(folder, f"{machine}-{turn}", Limits(**limits))
        told["turns"] = turn
        told["torn"] += wrong(workspace(folder, f"{machine}-{turn}"))
        told["troubles"] += complaints(result)
    return told


def pruner(folder: Path, **limits: Any) -> dict[str, Any]:
    """Prune until told to stop.

    Returns:
        How much it deleted, and the troubles that it was told of.
    """
    told: dict[str, Any] = {"deleted": 0, "troubles": []}
    _wait_for_the_start()
    for _ in _until_stopped(folder):
        result = prune(DirectoryStore(folder / STORE, Limits(**limits)), Limits(**limits))
        told["deleted"] += len(result.deleted)
        told["troubles"] += result.troubles
        time.sleep(0.02)
    return told


def observer(folder: Path) -> dict[str, Any]:
    """Look at the store until told to stop.

    Returns:
        The most bytes that it took, and the most files that were being written at once.
    """
    size = staged = 0
    _wait_for_the_start()
    for _ in _until_stopped(folder):
        size = max(size, size_of(folder / STORE))
        temporary = folder / STORE / "tmp"
        if temporary.exists():
            staged = max(staged, sum(entry.is_file() for entry in os.scandir(temporary)))
    return {"size": size, "staged": staged}


def holder(folder: Path, key: str, **limits: Any) -> bool:
    """Stage something and hold the turn until told to publish it."""
    store = DirectoryStore(folder / STORE, Limits(**limits))
    with store.stage() as staged:
        staged.file.write(b"x" * 100_000)
        staged.file.flush()
        _say("holding")
        sys.stdin.readline()
        return staged.publish(key)


def slow_saver(folder: Path, machine: str, **limits: Any) -> list[str]:
    """Save, and wait before what was written gets its name; the troubles."""
    waited = False

    def wait_once(call: Call) -> Any:
        nonlocal waited
        if call.name == "link" and str(call.arguments[1]).endswith(".pack") and not waited:
            waited = True
            _say("linking")
            sys.stdin.readline()
        return call.make()

    with intercepted(wait_once):
        return complaints(save_on(folder, machine, Limits(**limits)))


def complaints(*results: CacheResult) -> list[str]:
    """What a caller was told that he need not hear."""
    bad = [str(result) for result in results if result.status is OperationStatus.ERROR]
    return bad + [str(trouble) for result in results for trouble in result.troubles]


@dataclass(frozen=True)
class Told:
    """What those who took part in a race tell at its end."""

    savers: list[Any]
    readers: list[Any]
    pruners: list[Any]
    observer: Any

    @property
    def saved(self) -> set[str]:
        """The paths that savers were told to be in the store."""
        return {path for each in self.savers for path in each["saved"]}

    @property
    def troubles(self) -> list[str]:
        """What any of them was told to be wrong, and the torn files that they saw."""
        everybody = (*self.savers, *self.readers, *self.pruners)
        return [text for each in everybody for text in (*each["troubles"], *each.get("torn", ()))]


def race(
    folder: Path, savers: int, saves: int, *, readers: int = 0, pruners: int = 0, **limits: Any
) -> Told:
    """Let processes run against each other."""
    with contextlib.ExitStack() as stack:

        def start(role: str, **arguments: Any) -> Racer:
            return stack.enter_context(Racer(role, folder, **arguments))

        saving = [start("saver", machine=each, saves=saves, **limits) for each in range(savers)]
        reading = [start("reader", machine=f"reader{each}", **limits) for each in range(readers)]
        pruning = [start("pruner", **limits) for _ in range(pruners)]
        observing = start("observer")
        everybody = [*saving, *reading, *pruning, observing]
        for racer in everybody:
            racer.wait_for("ready")
        for racer in everybody:
            racer.go_on()
        saved = [racer.result() for racer in saving]
        (folder / STOP).touch()
        read, pruned = ([racer.result() for racer in kind] for kind in (reading, pruning))
        return Told(saved, read, pruned, observing.result())


def check_union(folder: Path, acknowledged: set[str], limits: Limits) -> None:
    """A new machine gets everything that anybody was told to be in the store."""
    result = restore_on(folder, "last", replace(limits, lock_seconds=1.0))
    assert complaints(result) == []
    assert wrong(workspace(folder, "last")) == []
    assert acknowledged - present(workspace(folder, "last")) == set()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _wait_for_the_start() -> None:
    _say("ready")
    sys.stdin.readline()


def _until_stopped(folder: Path) -> Iterator[int]:
    turn = 0
    while not (folder / STOP).exists():
        turn += 1
        yield turn


ROLES: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (saver, reader, pruner, observer, holder, slow_saver)
}


def _main(role: str, folder: str, arguments: str) -> None:
    values = json.loads(arguments)
    trusted = values.pop("kernel_locks", True)
    directory.kernel_locks_hold = lambda _: trusted
    _say(json.dumps(ROLES[role](Path(folder), **values)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
