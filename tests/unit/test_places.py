from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pytest_compilecache.errors import SettingsError, WorkspaceError
from pytest_compilecache.places import check_place, make_private

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
NOBODY = 12345


@pytest.fixture
def documented(tmp_path: Path) -> Path:
    """The place below which everything is accepted; all other folders are elsewhere."""
    return make(tmp_path / "documented", 0o777)


def make(folder: Path, mode: int, owner: int | None = None) -> Path:
    folder.mkdir()
    folder.chmod(mode)
    if owner is not None:
        os.chown(folder, owner, owner)
    return folder


@pytest.mark.parametrize("name", ["", "new", "new/deep", "open"])
def test_below_a_documented_place_no_more_is_asked(name: str, documented: Path):
    make(documented / "open", 0o777)
    check_place("LOCAL_WORK_DIR", documented / name, [documented])


@pytest.mark.parametrize("mode", [0o700, 0o755], ids=oct)
def test_private_folder_elsewhere_is_accepted(mode: int, documented: Path, tmp_path: Path):
    check_place("LOCAL_WORK_DIR", make(tmp_path / "mine", mode), [documented])


@pytest.mark.parametrize("mode", [0o755, 0o1777], ids=oct)
def test_new_folder_elsewhere_may_be_made_where_nobody_can_replace_it(
    mode: int, documented: Path, tmp_path: Path
):
    check_place("LOCAL_WORK_DIR", make(tmp_path / "above", mode) / "a" / "b", [documented])


@pytest.mark.parametrize(
    ("mode", "below", "reason"),
    [
        (0o777, "", "can be written to by others"),
        (0o1777, "", "can be written to by others"),
        (0o775, "", "can be written to by others"),
        (0o777, "a/b", "can be written to by others"),
        (0o770, "a/b", "can be written to by others"),
    ],
)
def test_folder_elsewhere_that_others_can_write_to_is_refused(
    mode: int, below: str, reason: str, documented: Path, tmp_path: Path
):
    folder = make(tmp_path / "shared", mode)
    with pytest.raises(SettingsError) as caught:
        check_place("LOCAL_WORK_DIR", folder / below, [documented])
    assert caught.value.subject == "LOCAL_WORK_DIR"
    assert reason in caught.value.reason
    assert str(folder) in caught.value.reason
    assert "mkdir -m 700" in caught.value.remedy
    assert str(documented) in caught.value.remedy


@needs_root
@pytest.mark.parametrize("below", ["", "a"])
def test_folder_elsewhere_of_another_user_is_refused(below: str, documented: Path, tmp_path: Path):
    folder = make(tmp_path / "theirs", 0o755, NOBODY)
    with pytest.raises(SettingsError, match=f"belongs to user {NOBODY}"):
        check_place("LOCAL_WORK_DIR", folder / below, [documented])


def test_file_elsewhere_is_refused(documented: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="is not a folder"):
        check_place("LOCAL_WORK_DIR", tmp_path / "file" / "below", [documented])


def test_link_does_not_lead_out_of_a_documented_place(documented: Path, tmp_path: Path):
    make(tmp_path / "shared", 0o777)
    (documented / "link").symlink_to(tmp_path / "shared")
    with pytest.raises(SettingsError, match="can be written to by others"):
        check_place("LOCAL_WORK_DIR", documented / "link" / "new", [documented])


def test_documented_place_may_be_a_link_itself(documented: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(documented)
    check_place("LOCAL_WORK_DIR", documented / "x", [tmp_path / "link"])
    check_place("LOCAL_WORK_DIR", tmp_path / "link" / "x", [documented])


def test_neighbour_of_a_documented_place_is_not_below_it(documented: Path, tmp_path: Path):
    make(tmp_path / "documented-too", 0o777)
    with pytest.raises(SettingsError):
        check_place("LOCAL_WORK_DIR", tmp_path / "documented-too", [documented])
    with pytest.raises(SettingsError):
        check_place("LOCAL_WORK_DIR", documented / ".." / "documented-too", [documented])


def test_private_folder_is_made_private_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        make_private(tmp_path / "work" / "ours")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "work" / "ours").stat().st_mode) == 0o700
    make_private(tmp_path / "work" / "ours")


def test_private_folder_that_others_opened_is_refused(tmp_path: Path):
    folder = make(tmp_path / "ours", 0o777)
    with pytest.raises(WorkspaceError, match="can be written to by others") as caught:
        make_private(folder)
    assert "LOCAL_WORK_DIR" in caught.value.remedy


@needs_root
def test_private_folder_that_another_user_made_first_is_refused(tmp_path: Path):
    folder = make(tmp_path / "ours", 0o700, NOBODY)
    with pytest.raises(WorkspaceError, match=f"belongs to user {NOBODY}"):
        make_private(folder)


def test_private_folder_that_is_a_link_is_refused(tmp_path: Path):
    make(tmp_path / "target", 0o700)
    (tmp_path / "ours").symlink_to(tmp_path / "target")
    with pytest.raises(WorkspaceError, match="it is a link"):
        make_private(tmp_path / "ours")


def test_private_folder_that_cannot_be_made_says_why(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(WorkspaceError, match="cannot be made"):
        make_private(tmp_path / "file" / "ours")
