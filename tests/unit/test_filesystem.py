from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_compilecache import _filesystem
from pytest_compilecache._filesystem import (
    UNKNOWN,
    Filesystem,
    filesystem_of,
    holder,
    kernel_locks_hold,
    parse_mounts,
)

TABLE = rb"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:40 / /home rw,relatime shared:3 master:1 - nfs4 server:/home rw,vers=4.2
41 40 254:0 /srv/fast /home/me/fast rw - ext4 /dev/vda rw
42 27 0:42 / /my\040disk\134\011x rw - fuse.sshfs me@there:/ rw
43 27 0:43 / /mnt/a rw - autofs systemd-1 rw
44 43 0:44 / /mnt/a rw shared:7 - cifs //server/a rw
45 27 0:45 / /mnt/\303\251t\303\251 rw - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/", "/", "ext4"),
        ("/tmp/x", "/", "ext4"),
        ("/proc/self/fd", "/proc", "proc"),
        ("/process", "/", "ext4"),
        ("/home", "/home", "nfs4"),
        ("/home/me/.cache/compilecache", "/home", "nfs4"),
        ("/homeless", "/", "ext4"),
        ("/my disk\\\tx/cache", "/my disk\\\tx", "fuse.sshfs"),
        ("/mnt/été/cache", "/mnt/été", "xfs"),
    ],
)
def test_path_lies_where_the_longest_mount_point_above_it_says(path: str, point: str, kind: str):
    assert holder(path, parse_mounts(TABLE)) == Filesystem(point, kind)


def test_bind_mount_of_a_local_folder_below_a_network_mount_is_local():
    assert not holder("/home/me/fast/cache", parse_mounts(TABLE)).is_network


def test_of_two_mounts_on_one_point_the_later_one_counts():
    assert holder("/mnt/a/cache", parse_mounts(TABLE)).kind == "cifs"


@pytest.mark.parametrize(
    "line", [b"", b"- ext4", b"1 2 3:4 / /x rw ext4", b"1 2 3:4 / /x rw - ", b"\xff\xfe - \x00"]
)
def test_line_that_is_none_is_passed_over(line: bytes):
    mounts = parse_mounts(line + b"\n27 1 254:0 / / rw - ext4 /dev/vda rw\n")
    assert list(mounts) == [Filesystem("/", "ext4")]


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "virtiofs",
        "lustre",
        "ceph",
        "gpfs",
        "beegfs",
        "afs",
        "fuse",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.gcsfuse",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.juicefs",
        "fuse.ceph-fuse",
        "fuse.not-heard-of",
    ],
)
def test_locks_are_not_trusted_where_other_machines_may_see_the_files(kind: str):
    assert Filesystem("/", kind).is_network


@pytest.mark.parametrize(
    "kind",
    [
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "tmpfs",
        "overlay",
        "fuseblk",
        "fuse.fuse-overlayfs",
        "apfs",
        "not-heard-of",
    ],
)
def test_locks_are_trusted_on_this_machines_own_disks(kind: str):
    assert not Filesystem("/", kind).is_network


def test_system_that_tells_nothing_counts_as_local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(_filesystem, "_MOUNTS", tmp_path / "missing")
    assert filesystem_of(tmp_path) == UNKNOWN
    assert kernel_locks_hold(tmp_path)


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's own table")


@on_linux
@pytest.mark.parametrize("folder", ["/", "/proc", "/dev", "/dev/shm", "."])
def test_kind_is_what_df_says(folder: str):
    if not Path(folder).is_dir():
        pytest.skip(f"no {folder} here")
    said = subprocess.run(
        ["df", "--output=fstype", folder], capture_output=True, text=True, check=True
    )
    assert filesystem_of(Path(folder)).kind == said.stdout.split()[-1]


@on_linux
def test_link_lies_where_it_leads_to(tmp_path: Path):
    (tmp_path / "link").symlink_to("/proc")
    assert filesystem_of(tmp_path / "link" / "not-there").kind == "proc"


IN_A_NAMESPACE = """
set -e
mount -t tmpfs -o size=1m none "$1/a disk"
mkdir "$1/a disk/bound" && mount --bind "$2" "$1/a disk/bound"
exec "$3" -c '
import sys
from pathlib import Path
from pytest_compilecache._filesystem import filesystem_of
disk = Path(sys.argv[1], "a disk")
print(filesystem_of(disk / "x" / "y"))
print(filesystem_of(disk / "bound" / "z").kind)
' "$1"
"""


@on_linux
def test_real_mounts_with_blanks_and_bind_mounts_are_told(tmp_path: Path):
    (tmp_path / "a disk").mkdir()
    (tmp_path / "elsewhere").mkdir()
    user = () if os.getuid() == 0 else ("--map-root-user",)
    command = ("unshare", "--mount", *user, "sh", "-c")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    words = ("sh", str(tmp_path), str(tmp_path / "elsewhere"), sys.executable)
    said = subprocess.run(
        [*command, IN_A_NAMESPACE, *words], capture_output=True, text=True, check=True
    )
    disk = str(tmp_path.resolve() / "a disk")
    assert said.stdout.splitlines() == [
        str(Filesystem(disk, "tmpfs")),
        filesystem_of(tmp_path).kind,
    ]
