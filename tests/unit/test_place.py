from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path

import pytest

from pytest_compilecache.errors import WorkspaceError
from pytest_compilecache.workspace.place import STAMP, choose_workspace


def test_folders_are_private_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        workspace = choose_workspace(tmp_path / "root", "torch-1", None)
        workspace.prepare("torch-1")
    finally:
        os.umask(before)
    below = (workspace.inductor, workspace.headers, workspace.state)
    for folder in (tmp_path / "root", workspace.root.parent, workspace.root, *below):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_environments_have_folders_of_their_own(tmp_path: Path):
    one, other = (choose_workspace(tmp_path, name, None) for name in ("torch-1", "torch-2"))
    assert one.inductor != other.inductor


def test_folder_that_others_can_write_to_is_refused_with_the_remedy(tmp_path: Path):
    workspace = choose_workspace(tmp_path, "torch-1", None)
    workspace.prepare("torch-1")
    workspace.inductor.chmod(0o777)
    with pytest.raises(WorkspaceError, match="chmod go-w") as caught:
        workspace.prepare("torch-1")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.subject, again.remedy) == (caught.value.subject, caught.value.remedy)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_folder_of_another_user_is_refused(tmp_path: Path):
    workspace = choose_workspace(tmp_path, "torch-1", None)
    workspace.prepare("torch-1")
    os.chown(workspace.inductor, 12345, 12345)
    with pytest.raises(WorkspaceError, match="belongs to user 12345"):
        workspace.prepare("torch-1")


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link away")


@needs_root
@pytest.mark.parametrize("below", ["", "below"], ids=["the folder", "above it"])
def test_link_of_another_user_is_refused_wherever_it_leads(below: str, tmp_path: Path):
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    os.lchown(tmp_path / "link", 12345, 12345)
    workspace = choose_workspace(tmp_path / "root", "torch-1", str(tmp_path / "link" / below))
    with pytest.raises(WorkspaceError, match="is a link of user 12345"):
        workspace.prepare("torch-1")
    assert not list((tmp_path / "mine").iterdir())


@needs_root
def test_link_of_another_user_above_all_workspaces_is_refused(tmp_path: Path):
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "root").symlink_to(tmp_path / "mine")
    os.lchown(tmp_path / "root", 12345, 12345)
    with pytest.raises(WorkspaceError, match="is a link of user 12345"):
        choose_workspace(tmp_path / "root", "torch-1", None).prepare("torch-1")


def test_link_of_ones_own_to_a_larger_disk_is_followed(tmp_path: Path):
    (tmp_path / "large").mkdir(mode=0o700)
    (tmp_path / "mine").symlink_to(tmp_path / "large")
    workspace = choose_workspace(tmp_path / "root", "torch-1", str(tmp_path / "mine"))
    workspace.prepare("torch-1")
    assert (tmp_path / "large" / STAMP).read_text() == "torch-1"


def test_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch):
    workspace = choose_workspace(tmp_path, "torch-1", None)
    workspace.prepare("torch-1")

    def mounted_read_only(path: Path, mode: int) -> bool:
        return not mode & os.W_OK

    monkeypatch.setattr(os, "access", mounted_read_only)
    with pytest.raises(WorkspaceError, match="cannot be written to"):
        workspace.prepare("torch-1")


def test_users_empty_folder_is_used_and_stamped(tmp_path: Path):
    workspace = choose_workspace(tmp_path / "root", "torch-1", str(tmp_path / "mine"))
    assert workspace.inductor == tmp_path / "mine"
    assert workspace.unshared == ""
    workspace.prepare("torch-1")
    assert (tmp_path / "mine" / STAMP).read_text() == "torch-1"
    again = choose_workspace(tmp_path / "root", "torch-1", str(tmp_path / "mine"))
    assert again.inductor == tmp_path / "mine"


@pytest.mark.parametrize("stamp", [None, "torch-2"], ids=["no stamp", "another stamp"])
def test_users_folder_of_another_environment_is_followed_and_left_alone(
    stamp: str | None, tmp_path: Path
):
    mine = tmp_path / "mine"
    (mine / "fxgraph").mkdir(parents=True)
    if stamp:
        (mine / STAMP).write_text(stamp)
    workspace = choose_workspace(tmp_path / "root", "torch-1", str(mine))
    assert workspace.inductor == mine
    assert str(mine) in workspace.unshared
    assert mine not in dict(workspace.areas()).values()
    workspace.prepare("torch-1")
    assert sorted(each.name for each in mine.iterdir()) == sorted(
        ["fxgraph", *([STAMP] if stamp else [])]
    )
