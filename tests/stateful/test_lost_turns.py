"""Whoever holds a turn at saving is killed, or stopped: the next one waits no longer than it must.

Nothing is ever lost by that, not even what the one that was stopped writes when it wakes.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.limits import Limits
from pytest_compilecache.store import DirectoryStore, directory
from pytest_compilecache.store.turns import StoreBusyError
from tests.crash.artifacts import names
from tests.crash.extent import SOAK
from tests.stateful.racing import (
    STORE,
    Racer,
    check_union,
    complaints,
    make,
    restore_on,
    save_on,
)

KILLS = 100 if SOAK else 3
# One second was asked for; a machine that also does other work may take a few.
AT_ONCE = 5.0
LEASE = 1.0
ONE = {"concurrent_saves": 1, "free_bytes": 0}


def publish(folder: Path, key: str, *, kernel_locks: bool, **limits: float) -> None:
    store = DirectoryStore(folder / STORE, Limits(**ONE, **limits), kernel_locks=kernel_locks)
    with store.stage() as staged:
        staged.file.write(b"content")
        assert staged.publish(key)


def keys(folder: Path) -> list[str]:
    return [each.key for each in DirectoryStore(folder / STORE).list("v1")]


def hold(folder: Path, key: str, *, kernel_locks: bool, **limits: float) -> Racer:
    racer = Racer("holder", folder, kernel_locks=kernel_locks, key=key, **ONE, **limits)
    racer.wait_for("holding")
    return racer


@pytest.fixture
def on_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose kernel locks cannot be trusted."""
    monkeypatch.setattr(directory, "kernel_locks_hold", lambda _: False)


@pytest.mark.parametrize("kernel_locks", [True, False], ids=["kernel locks", "leases"])
def test_turn_of_a_killed_saver_is_free_at_once(folder: Path, kernel_locks: bool):
    for kill in range(KILLS):
        with hold(folder, f"v1/held{kill}", kernel_locks=kernel_locks) as holder:
            holder.kill()
        started = time.monotonic()
        publish(folder, f"v1/next{kill}", kernel_locks=kernel_locks)
        assert time.monotonic() - started < AT_ONCE
    assert sorted(keys(folder)) == sorted(f"v1/next{kill}" for kill in range(KILLS))


def test_lease_of_one_who_died_on_another_machine_ends_after_its_duration(folder: Path):
    with hold(folder, "v1/held", kernel_locks=False, lock_seconds=LEASE) as holder:
        holder.kill()
    (lease,) = (folder / STORE / "tmp" / "turns").glob("save-*.lock")
    move_to_another_machine(lease)
    started = time.monotonic()
    publish(folder, "v1/next", kernel_locks=False, lock_seconds=LEASE)
    assert LEASE <= time.monotonic() - started < LEASE + AT_ONCE
    assert keys(folder) == ["v1/next"]


def move_to_another_machine(lease: Path) -> None:
    text = lease.read_text()
    host = Path("/proc/sys/kernel/hostname").read_text().strip()
    assert host in text, f"the owner of a lease is told in another form: {text!r}"
    lease.write_text(text.replace(host, "elsewhere"))


def test_stopped_saver_with_a_kernel_lock_is_never_robbed(folder: Path):
    made = make(folder, "here", names("h", 2))
    with hold(folder, "v1/held", kernel_locks=True) as holder:
        holder.stop()
        with pytest.raises(StoreBusyError):
            publish(folder, "v1/other", kernel_locks=True, lock_seconds=0.3)
        result = save_on(folder, "here", Limits(**ONE, lock_seconds=0.3))
        assert result.status is OperationStatus.ERROR
        assert "1 others write to it, and none has finished in 0.3 s" in result.troubles[0].reason
        assert keys(folder) == []
        holder.wake()
        holder.go_on()
        assert holder.result() is True
    assert save_on(folder, "here", Limits(**ONE)).status is OperationStatus.SUCCESS
    assert "v1/held" in keys(folder)
    check_union(folder, set(made), Limits())


def test_stopped_saver_whose_lease_was_taken_publishes_all_the_same(folder: Path):
    with hold(folder, "v1/held", kernel_locks=False, lock_seconds=LEASE) as holder:
        holder.stop()
        publish(folder, "v1/other", kernel_locks=False, lock_seconds=LEASE)
        holder.wake()
        holder.go_on()
        assert holder.result() is True
    assert sorted(keys(folder)) == ["v1/held", "v1/other"]


@pytest.mark.usefixtures("on_leases")
@pytest.mark.parametrize("incomplete_seconds", [0.5, 60.0], ids=["swept", "left alone"])
def test_stopped_save_loses_nothing_when_it_wakes(folder: Path, incomplete_seconds: float):
    limits = {**ONE, "lock_seconds": LEASE, "incomplete_seconds": incomplete_seconds}
    made = make(folder, "stopped", names("h", 2)) + make(folder, "other", names("o", 2))
    with Racer("slow_saver", folder, machine="stopped", kernel_locks=False, **limits) as saver:
        saver.wait_for("linking")
        saver.stop()
        time.sleep(min(incomplete_seconds, LEASE))
        assert complaints(save_on(folder, "other", Limits(**limits))) == []
        left = [path for path in (folder / STORE / "tmp").iterdir() if path.is_file()]
        assert len(left) == (incomplete_seconds > LEASE)
        saver.wake()
        saver.go_on()
        assert saver.result() == []
    check_union(folder, set(made), Limits())


@pytest.mark.usefixtures("on_leases")
def test_savers_that_would_wait_for_different_times_agree_on_leases(folder: Path):
    durations = (LEASE, 3 * LEASE)
    made = []
    for turn in range(6):
        limits = Limits(**ONE, lock_seconds=durations[turn % 2])
        made += make(folder, turn % 2, names(f"m{turn % 2}", 2, first=2 * turn))
        assert complaints(save_on(folder, turn % 2, limits)) == []
    check_union(folder, set(made), Limits())


@pytest.mark.parametrize("first", [0, 1])
def test_lease_is_waited_for_by_one_who_has_set_another_time(folder: Path, first: int):
    durations = (LEASE, 3 * LEASE)
    with hold(folder, "v1/held", kernel_locks=False, lock_seconds=durations[first]) as holder:
        holder.stop()
        publish(folder, "v1/other", kernel_locks=False, lock_seconds=durations[1 - first])
        holder.wake()
        holder.go_on()
        assert holder.result() is True
    assert sorted(keys(folder)) == ["v1/held", "v1/other"]


def test_reader_who_notes_damage_waits_for_no_saver(folder: Path):
    """Savers may take minutes for a large pack, and a session cannot start before it restored."""
    limits = Limits(**ONE, lock_seconds=10.0)
    for number in range(3):
        make(folder, "here", names("h", 1, first=number))
        assert complaints(save_on(folder, "here", limits)) == []
    for pack in (folder / STORE).rglob("*.pack"):
        pack.write_bytes(pack.read_bytes()[:-1])
    with hold(folder, "v1/held", kernel_locks=True):
        started = time.monotonic()
        result = restore_on(folder, "reader", limits)
        assert time.monotonic() - started < AT_ONCE
    assert len(result.troubles) == 3
