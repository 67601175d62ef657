"""The kernel itself refuses: system calls fail under strace, disks are full, limits are low.

As in `test_every_failing_call`, but nothing of Python is replaced, so that calls
of C code fail as well, and in the very way in which the kernel fails them.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.artifacts import names, present, put, wrong
from tests.crash.extent import SOAK, stride
from tests.crash.prepared import Ending, Prepared
from tests.crash.site import Site
from tests.crash.verification import store_faults, stored_paths

HERE = "here"
SAVES = ("save", "compact")
OPERATIONS = (*SAVES, "restore", "prune")
# Who makes the calls, the error that they can really give, and the stride of the short form.
CALLS = {
    "write": (OPERATIONS, "ENOSPC", 2),
    "fsync": (SAVES, "EIO", 1),
    "openat": (OPERATIONS, "EMFILE", 13),
    "link,linkat": (SAVES, "ENOSPC", 1),
    "rename,renameat,renameat2": ((*SAVES, "restore"), "ENOSPC", 1),
    "mkdir,mkdirat": (OPERATIONS, "ENOSPC", 1),
    "close": (OPERATIONS, "EIO", 13),
    "unlink,unlinkat": ((*SAVES, "prune"), "EACCES", 1),
    "getdents64": (OPERATIONS, "EIO", 13),
    "read,pread64": (OPERATIONS, "EIO", 11),
}
MADE_BY = [(calls, operation) for calls, (made_by, _, _) in CALLS.items() for operation in made_by]
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(shared_folder: Path) -> Site:
    """A site where every operation has something to do; each fault meets a copy of it."""
    site = Site(shared_folder / "before")
    for number in range(3):
        site.restore("other")
        put(site.workspace("other"), names("o", 2, first=2 * number))
        site.save("other")
    site.restore(HERE)
    put(site.workspace(HERE), names("h", 5))
    site.compact(HERE)
    put(site.workspace(HERE), names("h", 2, first=5))
    put(site.workspace("other"), names("o", 2, first=6))
    site.save("other")
    assert stored_paths(site.store) == STORED
    return site


STORED = {*names("o", 8), *names("h", 5)}
EVERYTHING = {*STORED, *names("h", 7)}


def complaints_after(ending: Ending, site: Site) -> Iterator[str]:
    """What is not as it should be after something failed, and after the next session."""
    if ending.told == "raised" or ending.signal:
        yield ending.raised or f"it died: {ending}"
    yield from store_faults(site.store)
    lost = STORED - stored_paths(site.store)
    yield from (f"{path} was stored, and is not any more" for path in sorted(lost))
    yield from (f"{path} is torn" for path in wrong(site.workspace(HERE)))
    for result in (site.restore(HERE), site.save(HERE), site.restore("fresh")):
        yield from (f"the next one says: {trouble}" for trouble in result.troubles)
    fresh = site.workspace("fresh")
    yield from (f"{path} is lost" for path in sorted(EVERYTHING - present(fresh)))
    yield from (f"{path} came torn" for path in wrong(fresh))


def assert_well(ending: Ending, site: Site) -> None:
    complaints = list(complaints_after(ending, site))
    assert not complaints, "\n".join(complaints)


class Strace:
    """Lets system calls of forked processes fail."""

    def __init__(self, prepared: Prepared, trace: Path) -> None:
        self._prepared = prepared
        self._trace = trace

    def run(self, operation: str, site: Site, calls: str, error: str, when: str) -> Ending:
        self._trace.unlink(missing_ok=True)
        what = (f"trace={calls}", f"inject={calls}:error={error}:when={when}")
        return self._prepared.run(
            operation=operation,
            folder=site.folder,
            machine=HERE,
            strace=[word for each in what for word in ("-e", each)],
            trace=str(self._trace),
        )

    def injected(self) -> bool:
        """Whether anything failed in the last run."""
        return self._trace.exists() and "(INJECTED)" in self._trace.read_text()


@pytest.fixture(scope="module")
def strace(prepared: Prepared, site: Site, shared_folder: Path) -> Strace:
    """A strace that works here."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    strace = Strace(prepared, shared_folder / "trace")
    strace.run("prune", site.copy(shared_folder / "probe"), "openat", "EIO", "1+")
    if not strace.injected():
        pytest.skip("strace may not watch processes here")
    return strace


@pytest.mark.parametrize(("calls", "operation"), MADE_BY)
def test_system_call_that_fails_once_costs_nothing(
    calls: str, operation: str, strace: Strace, site: Site, folder: Path
):
    _, error, short = CALLS[calls]
    complaints: list[str] = []
    for position in itertools.count(1, stride(short)):
        copy = site.copy(folder / "copy")
        ending = strace.run(operation, copy, calls, error, str(position))
        found = list(complaints_after(ending, copy))
        complaints += [f"{calls} number {position} failed: {each}" for each in found]
        copy.remove()
        if not strace.injected():
            break
    assert position > 1, f"it makes no call of {calls}, so this test shows nothing"
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(("calls", "operation"), [pair for pair in MADE_BY if pair[0] != "close"])
def test_system_calls_that_all_fail_cost_nothing(
    calls: str, operation: str, strace: Strace, site: Site, folder: Path
):
    _, error, _ = CALLS[calls]
    for first in range(1, 30 if SOAK else 2):
        copy = site.copy(folder / "copy")
        ending = strace.run(operation, copy, calls, error, f"{first}+")
        assert_well(ending, copy)
        copy.remove()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_hardly_any_files_can_be_opened(
    operation: str, prepared: Prepared, site: Site, folder: Path
):
    endings = []
    for more in range(0, 12, stride(4)):
        copy = site.copy(folder / "copy")
        endings.append(
            prepared.run(
                operation=operation, folder=copy.folder, machine=HERE,
                limits={"RLIMIT_NOFILE": more},
            )
        )  # fmt: skip
        assert_well(endings[-1], copy)
        copy.remove()
    assert endings[0].told not in {"success", "pruned"}, "the limit was not felt"


@pytest.mark.parametrize("operation", ["save", "compact", "restore"])
def test_files_may_not_become_large(operation: str, prepared: Prepared, site: Site, folder: Path):
    endings = []
    for size in (0, 1, 100, 1_000, 5_000, 50_000)[:: stride(2)]:
        copy = site.copy(folder / "copy")
        endings.append(
            prepared.run(
                operation=operation, folder=copy.folder, machine=HERE, limits={"RLIMIT_FSIZE": size}
            )
        )
        assert_well(endings[-1], copy)
        copy.remove()
    assert endings[0].told == "error", "the limit was not felt"


# What a full disk does is tried in a user namespace of its own, where anybody may mount.
ON_A_SMALL_DISK = """
import subprocess, sys
from pathlib import Path
from pytest_compilecache.limits import Limits
from tests.crash.artifacts import names, present, put, wrong
from tests.crash.site import Site
from tests.crash.verification import store_faults

def mount(folder, size, *more):
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *more]), "none",
                    str(folder)], check=True)

site = Site(Path(sys.argv[1]))
site.restore("here")
made = put(site.workspace("here"), names("h", 10, large=1))
small = site.folder / sys.argv[2]
small.mkdir()
mount(small, "256k")
limits = Limits(free_bytes=0)  # or our own look at the free space would come first
"""
FULL_STORE = """
full = site.save("here", limits)
print(full)
assert full.status.value == "error", full
assert "disk" in full.troubles[0].reason, full
assert store_faults(site.store) == []
assert [each for each in (site.store / "tmp").rglob("*") if each.is_file()
        and each.suffix != ".lock"] == []
mount(small, "64m", "remount")
assert site.save("here", limits).status.value == "success"
assert site.restore("fresh", limits).status.value == "success"
assert present(site.workspace("fresh")) == made
assert wrong(site.workspace("fresh")) == []
"""
FULL_WORKSPACE = """
assert site.save("here", limits).status.value == "success"
full = site.restore("fresh", limits)
print(full)
fresh = site.workspace("fresh")
assert full.status.value == "error", full
assert full.troubles, full
assert wrong(fresh) == []
mount(small, "64m", "remount")
assert site.restore("fresh", limits).status.value == "success"
assert present(fresh) == made
assert wrong(fresh) == []
"""


def in_a_namespace(folder: Path, program: str, small: str) -> None:
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-c"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    mounts = "mount -t tmpfs none /tmp"
    allowed = subprocess.run([*command[:-2], "sh", "-c", mounts], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"nothing may be mounted here: {allowed.stderr.decode().strip()}")
    run = subprocess.run(
        [*command, ON_A_SMALL_DISK + program, str(folder), small],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_full_disk_fails_a_save_and_nothing_else(folder: Path):
    in_a_namespace(folder, FULL_STORE, "shared")


def test_full_disk_fails_a_restore_and_nothing_else(folder: Path):
    in_a_namespace(folder, FULL_WORKSPACE, "fresh")
