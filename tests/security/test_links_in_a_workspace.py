"""A link in a workspace leads no restored file out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus
from tests.unit.machine import Place


@pytest.fixture
def store(tmp_path: Path) -> Path:
    here = Place(tmp_path / "here")
    for name in "abc":
        here.write(name)
    assert here.save(tmp_path / "store").status is OperationStatus.SUCCESS
    return tmp_path / "store"


@pytest.fixture
def there(tmp_path: Path) -> Place:
    return Place(tmp_path / "there")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


def test_folder_that_is_a_link_is_not_written_through(store: Path, there: Place, outside: Path):
    (there.workspace.inductor / "ab").symlink_to(outside)
    result = there.restore(store)
    assert list(outside.iterdir()) == []
    assert (result.status, result.files) == (OperationStatus.ERROR, 0)
    assert all("in the place of" in trouble.reason for trouble in result.troubles)


def test_file_that_is_a_link_is_replaced_and_not_written_through(
    store: Path, there: Place, outside: Path
):
    (outside / "kept").write_bytes(b"kept")
    (there.workspace.inductor / "ab").mkdir()
    (there.workspace.inductor / "ab" / "a").symlink_to(outside / "kept")
    assert there.restore(store).files == 3
    assert (outside / "kept").read_bytes() == b"kept"
    assert not (there.workspace.inductor / "ab" / "a").is_symlink()


def test_workspace_that_is_a_link_of_its_owner_is_filled(store: Path, there: Place, outside: Path):
    inductor = there.workspace.inductor
    inductor.rename(outside / "inductor")
    inductor.symlink_to(outside / "inductor")
    assert there.restore(store).files == 3
    assert there.restore(store).status is OperationStatus.SKIPPED
