"""One pack that the medium refuses: another user's private file, or a bad sector of a disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.store import DirectoryStore, StoreAccessError, directory
from pytest_compilecache.store.check import check
from pytest_compilecache.store.prune import prune
from pytest_compilecache.store.refusals import StoreFile
from tests.unit.machine import LIMITS, Place, age, packs

REFUSALS = pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def here(tmp_path) -> Place:
    return Place(tmp_path / "here")


@pytest.fixture
def there(tmp_path) -> Place:
    return Place(tmp_path / "there")


@pytest.fixture
def refuse(monkeypatch):
    """Let a pack be refused when it is opened."""

    def refuse(pack: Path, code: int = errno.EACCES) -> None:
        opened = directory._open_without_waiting

        def opening(path, flags):
            if Path(path) == pack:
                raise OSError(code, os.strerror(code), str(path))
            return opened(path, flags)

        monkeypatch.setattr(directory, "_open_without_waiting", opening)

    return refuse


@pytest.fixture
def spoil_content(monkeypatch):
    """Let the disk fail where a pack's first frames lie, and not where its index lies."""

    def spoil(pack: Path) -> None:
        read = StoreFile.readinto

        def reading(self, buffer):
            if Path(self.name) == pack and 12 <= self.tell() < 1000:
                raise StoreAccessError(pack, "Input/output error", code=errno.EIO)
            return read(self, buffer)

        monkeypatch.setattr(StoreFile, "readinto", reading)

    return spoil


def two_packs(place: Place, store: Path) -> tuple[Path, Path]:
    """The pack of a file "first", and that of a file "second"."""
    place.write("first", b"1" * 100 + os.urandom(3000))
    place.save(store)
    (first,) = packs(store)
    place.write("second")
    place.save(store)
    (second,) = set(packs(store)) - {first}
    return first, second


@REFUSALS
def test_the_other_packs_are_restored_and_the_refused_one_is_named(
    here, there, store, refuse, code
):
    _, second = two_packs(here, store)
    refuse(second, code)
    result = there.restore(store)
    assert list(there.files()) == ["first"]
    assert (result.status, result.files) == (OperationStatus.ERROR, 1)
    (trouble,) = result.troubles
    assert trouble.subject == str(second)
    assert not list(store.rglob("suspect/*"))  # nobody can say that it is damaged


def test_a_disk_that_fails_in_the_middle_of_a_pack_costs_that_pack(
    here, there, store, spoil_content
):
    _, second = two_packs(here, store)
    spoil_content(second)
    result = there.restore(store)
    assert list(there.files()) == ["first"]
    assert [trouble.subject for trouble in result.troubles] == [str(second)]


@REFUSALS
def test_others_save_beside_it_and_what_it_holds_as_well(here, there, store, refuse, code):
    _, second = two_packs(here, store)
    refuse(second, code)
    here.write("third")
    result = here.save(store)
    assert (result.status, result.files) == (OperationStatus.SUCCESS, 2)
    assert [trouble.subject for trouble in result.troubles] == [str(second)]
    there.restore(store)
    assert list(there.files()) == ["first", "second", "third"]


def test_a_note_on_a_pack_that_cannot_be_read_keeps_nobody_from_saving(here, store, spoil_content):
    first, _ = two_packs(here, store)
    (first.parent.parent / "suspect").mkdir()
    (first.parent.parent / "suspect" / first.stem).write_bytes(b"seems to be damaged")
    spoil_content(first)
    here.write("third")
    assert here.save(store).status is OperationStatus.SUCCESS


def test_check_names_it_and_reads_the_others(here, store, refuse):
    _, second = two_packs(here, store)
    refuse(second)
    result = check(DirectoryStore(store))
    assert result.packs == 2
    (finding,) = result.findings
    assert finding.key == second.relative_to(store).as_posix()
    assert finding.reason == "permission was refused"


def test_check_goes_on_after_a_disk_that_fails_in_the_middle(here, store, spoil_content):
    first, _ = two_packs(here, store)
    spoil_content(first)
    (finding,) = check(DirectoryStore(store)).findings
    assert (finding.key, finding.reason) == (
        first.relative_to(store).as_posix(),
        "Input/output error",
    )


def test_prune_does_not_take_what_cannot_be_read_for_damaged_or_taken_over(
    here, there, store, refuse
):
    for number in range(LIMITS.fan + 1):
        here.write(f"file-{number}")
        here.save(store)
    taken_over = min(packs(store), key=lambda each: each.stat().st_mtime_ns)
    note = taken_over.parent.parent / "suspect" / taken_over.stem
    note.parent.mkdir()
    note.write_bytes(b"seems to be damaged")
    age(store, 10)
    refuse(taken_over, errno.EIO)
    result = prune(DirectoryStore(store), LIMITS)
    assert taken_over.exists()
    assert note.exists()
    assert len(result.deleted) == LIMITS.fan - 1
    assert any(str(taken_over) in trouble for trouble in result.troubles)


def test_prune_deletes_what_it_can_and_names_what_it_may_not(here, store, monkeypatch):
    first, second = two_packs(here, store)
    age(store, 2 * LIMITS.keep_seconds)
    unlink = Path.unlink

    def unlinking(self, **options):
        if self == first:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        unlink(self, **options)

    monkeypatch.setattr(Path, "unlink", unlinking)
    result = prune(DirectoryStore(store), LIMITS)
    assert packs(store) == [first]
    assert second.relative_to(store).as_posix() in result.deleted
    assert any(str(first) in trouble for trouble in result.troubles)
    assert result.kept == 1
