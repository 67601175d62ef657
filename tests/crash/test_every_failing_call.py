"""Every call to the operating system fails once, and every one from a position on.

Whatever failed: there is a result, nothing that misleads is in the store, and the
next session finds all that was made, as if nothing had been.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.errors import StoreError
from pytest_compilecache.store.staging import temporary_name
from tests.crash.artifacts import names, present, put, wrong
from tests.crash.extent import SOAK, stride
from tests.crash.faults import Fault, intercepted
from tests.crash.site import OPERATIONS, Site
from tests.crash.verification import store_faults, stored_paths

HERE = "here"  # the machine whose operation meets the fault
TORN = "inductor/hb/torn.py"
SHORT_STRIDES = {errno.ENOSPC: 11, errno.EIO: 17, errno.EACCES: 19, errno.EMFILE: 23}
WELL = {OperationStatus.SUCCESS, OperationStatus.SKIPPED}


def add_packs(site: Site, count: int, *, first: int = 0) -> set[str]:
    """Packs of other machines."""
    made = set()
    for number in range(first, first + count):
        machine = f"other{number}"
        site.restore(machine)
        made |= put(site.workspace(machine), names("o", 2, first=2 * number))
        assert site.save(machine).status is OperationStatus.SUCCESS
    return made


def make(site: Site, *paths: str) -> set[str]:
    """Artifacts of this machine, and one that a killed compiler left torn."""
    site.restore(HERE)
    workspace = site.workspace(HERE)
    torn = workspace.inductor / TORN.partition("/")[2]
    torn.parent.mkdir(exist_ok=True)
    torn.touch()
    return put(workspace, paths)


def before_the_first_save(site: Site) -> set[str]:
    return make(site, *names("h", 5))


def before_one_more_save(site: Site) -> set[str]:
    return add_packs(site, 2) | make(site, *names("h", 5))


def before_a_restore_on_a_new_machine(site: Site) -> set[str]:
    return add_packs(site, 2)


def before_a_restore_of_what_is_missing(site: Site) -> set[str]:
    made = add_packs(site, 1) | make(site, *names("h", 2))
    return made | add_packs(site, 3, first=1)


def before_a_compaction(site: Site) -> set[str]:
    made = add_packs(site, 3)
    return made | make(site, *names("h", 2))


def before_a_prune(site: Site) -> set[str]:
    made = before_a_compaction(site)
    assert site.compact(HERE).status is OperationStatus.SUCCESS
    left = site.store / "tmp" / temporary_name()
    left.write_bytes(b"x" * 1000)
    os.utime(left, (0, 0))
    return made


@dataclass(frozen=True)
class Scene:
    """A site before an operation, and what everybody has made by then."""

    operation: str
    site: Site
    made: set[str]


SCENES: dict[str, tuple[str, Callable[[Site], set[str]]]] = {
    "first save": ("save", before_the_first_save),
    "one more save": ("save", before_one_more_save),
    "compaction": ("compact", before_a_compaction),
    "restore on a new machine": ("restore", before_a_restore_on_a_new_machine),
    "restore of what is missing": ("restore", before_a_restore_of_what_is_missing),
    "prune": ("prune", before_a_prune),
}


@pytest.fixture(params=SCENES, scope="module")
def scene(request: pytest.FixtureRequest, shared_folder: Path) -> Scene:
    """What is prepared once, since each fault meets a copy of it."""
    operation, prepare = SCENES[request.param]
    site = Site(shared_folder / request.param)
    made = prepare(site)
    assert store_faults(site.store) == []
    return Scene(operation, site, made)


def test_undisturbed_operation_leaves_everything_well(scene: Scene, folder: Path):
    site = scene.site.copy(folder / "site")
    assert complaints_after(scene, site, Fault(1_000_000, errno.EIO)) == []


@pytest.mark.parametrize("code", SHORT_STRIDES, ids=lambda code: errno.errorcode[code])
def test_call_that_fails_once_costs_nothing(scene: Scene, code: int, folder: Path):
    positions = itertools.count(1, stride(SHORT_STRIDES[code]))
    faults = (Fault(position, code) for position in positions)
    complaints = list(all_complaints(scene, faults, folder))
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    "code",
    SHORT_STRIDES if SOAK else [errno.ENOSPC, errno.EACCES],
    ids=lambda code: errno.errorcode[code],
)
def test_calls_that_all_fail_from_one_on_cost_nothing(scene: Scene, code: int, folder: Path):
    positions = itertools.count(1, stride(41))
    faults = (Fault(position, code, lasting=True) for position in positions)
    complaints = list(all_complaints(scene, faults, folder))
    assert not complaints, "\n".join(complaints)


def all_complaints(scene: Scene, faults: Iterator[Fault], folder: Path) -> Iterator[str]:
    """What is wrong after each fault, until one comes too late to strike."""
    for number, fault in enumerate(faults):
        site = scene.site.copy(folder / str(number))
        complaints = complaints_after(scene, site, fault)
        yield from (f"{fault.struck} failed in run {number}: {each}" for each in complaints)
        site.remove()
        if not fault.struck:
            assert number > 0
            return


def complaints_after(scene: Scene, site: Site, fault: Fault) -> list[str]:
    """Let the operation meet a fault; everything that is not as it should be then, and later."""
    before = open_files()
    complaints = list(outcome(scene, site, fault))
    complaints += [f"{name} was left open" for name in sorted(open_files() - before)]
    complaints += store_faults(site.store)
    lost = stored_paths(scene.site.store) - stored_paths(site.store)
    complaints += [f"{path} was stored, and is not any more" for path in sorted(lost)]
    complaints += [f"{path} is torn" for path in wrong(site.workspace(HERE)) if path != TORN]
    return complaints + list(later(site, scene.made))


def open_files() -> set[str]:
    """What this process has open, each with its number."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists
            found.add(f"{descriptor.name}: {descriptor.readlink()}")
    return found


def where(error: Exception) -> str:
    """The line of the package that an error came through last."""
    lines = traceback.extract_tb(error.__traceback__)
    ours = [line for line in lines if "/pytest_compilecache/" in line.filename]
    last = (ours or lines)[-1]
    return f"{error!r} in {Path(last.filename).name}:{last.lineno}"


def outcome(scene: Scene, site: Site, fault: Fault) -> Iterator[str]:
    """What is wrong with how the operation ended."""
    try:
        with intercepted(fault):
            result = OPERATIONS[scene.operation](site, HERE)
    except StoreError as error:
        if scene.operation != "prune":
            yield f"it raised {where(error)}"
    except Exception as error:  # noqa: BLE001  (which none may be)
        yield f"it raised {where(error)}"
    else:
        if isinstance(result, CacheResult):
            yield from unexplained(result)
            yield from boasts(result, scene, site)


def unexplained(result: CacheResult) -> Iterator[str]:
    if result.status is OperationStatus.ERROR and not result.troubles:
        yield "an error without a word"
    yield from (str(each) for each in result.troubles if not each.reason)
    yield from (str(each) for each in result.troubles if "please report" in each.remedy)


def boasts(result: CacheResult, scene: Scene, site: Site) -> Iterator[str]:
    """What a result says was done, and was not."""
    if result.status is not OperationStatus.SUCCESS:
        return
    if scene.operation == "restore":
        done = present(site.workspace(HERE)) - present(scene.site.workspace(HERE))
    else:
        done = stored_paths(site.store) - stored_paths(scene.site.store)
        if result.troubles and result.files > len(done):
            return  # a pack could not be read, and what it holds was saved again
    if not result.files or result.files != len(done):
        yield f"it says that it did {result.files} files, and did {len(done)}"


def later(site: Site, made: set[str]) -> Iterator[str]:
    """What is wrong with the next session, and with one on a machine that is new."""
    results = {
        "restore": site.restore(HERE),
        "save": site.save(HERE),
        "restore on a fresh machine": site.restore("fresh"),
    }
    for name, result in results.items():
        nothing_there = result.status is OperationStatus.DOES_NOT_EXIST and name == "restore"
        if result.troubles or not (result.status in WELL or nothing_there):
            yield f"the next {name} ended in {result.status}: {[*map(str, result.troubles)]}"
    fresh = site.workspace("fresh")
    yield from (f"{path} is lost" for path in sorted(made - present(fresh)))
    yield from (f"{path} came torn" for path in wrong(fresh))
