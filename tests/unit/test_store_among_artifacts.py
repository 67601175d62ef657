"""A store in a folder that a save reads would be saved to itself, again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus
from tests.unit.machine import Place, packs


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Place:
    return Place(tmp_path / "there")


@pytest.mark.parametrize("below", [".", "store"])
def test_a_store_among_the_artifacts_is_refused_before_it_saves_itself(here, below):
    here.write("a")
    store = here.workspace.inductor / below
    for result in (here.restore(store), here.save(store), here.save(store)):
        assert result.status is OperationStatus.ERROR
        assert "lies in" in result.troubles[0].reason
    assert not packs(here.workspace.inductor)


def test_a_store_among_the_artifacts_is_refused_behind_a_link_as_well(here, tmp_path):
    (tmp_path / "link").symlink_to(here.workspace.inductor)
    assert here.save(tmp_path / "link").status is OperationStatus.ERROR


def test_a_store_beside_the_artifacts_in_the_same_folder_is_fine(here, there):
    store = here.workspace.root
    here.write("a")
    assert here.save(store).status is OperationStatus.SUCCESS
    assert here.save(store).status is OperationStatus.SKIPPED
    assert there.restore(store).files == 1
