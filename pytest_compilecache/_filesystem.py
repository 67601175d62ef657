"""On which file system a path lies, what may be expected of it, and how to read unnoticed.

It writes nothing.

Source: proc(5), "/proc/pid/mountinfo".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_POINT_FIELD = 4
_LEAST_FIELDS = 6
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")

# Machines that mount these see each other's files, but not, or not surely, each
# other's locks. On the last line: the machine is virtual, and the other is its host.
_NETWORK = frozenset(
    {"nfs", "nfs3", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "gpfs", "beegfs", "fhgfs"}
    | {"afs", "coda", "ncpfs", "glusterfs", "orangefs", "pvfs2", "panfs", "wekafs"}
    | {"9p", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "drvfs", "fakeowner", "osxfs", "grpcfuse"}
)
# Where such a program knows no locks, the kernel grants them by itself: they seem to
# work while another machine holds the same one. Only these stay on this machine.
_FUSE = "fuse"
_LOCAL_FUSE = frozenset(
    {"bindfs", "encfs", "exfat", "fuse-overlayfs", "gocryptfs", "lxcfs", "mergerfs", "ntfs"}
    | {"ntfs-3g", "squashfuse", "unionfs", "unionfs-fuse", "veracrypt"}
)


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A mounted file system: where it is mounted, and its type in the words of the kernel.

    Both are empty where the kernel does not say.
    """

    point: str
    kind: str

    @property
    def is_network(self) -> bool:
        """Whether processes elsewhere may use the same files without seeing our locks.

        An unknown kind counts as local: there a lock that cannot be had is an
        error, and no lock that lies.
        """
        kind, _, program = self.kind.partition(".")
        if kind == _FUSE:
            return program not in _LOCAL_FUSE
        return kind in _NETWORK


UNKNOWN = Filesystem("", "")


def filesystem_of(path: Path) -> Filesystem:
    """The file system that holds a path, whether or not the path exists yet.

    Returns:
        What the kernel says, `UNKNOWN` where `/proc` cannot be read.
    """
    try:
        table = _MOUNTS.read_bytes()
    except OSError:
        return UNKNOWN
    return holder(os.path.realpath(path), parse_mounts(table))


def kernel_locks_hold(path: Path) -> bool:
    """Whether a kernel lock taken there binds every process that can see the file."""
    return not filesystem_of(path).is_network


def open_unnoticed(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file for reading without a trace in its time of last use; an opener for ``open``.

    What is read to be judged or packed is not used, and eviction goes by that time.
    """
    try:
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # it is another user's
        return os.open(path, flags)


def read_unnoticed(path: str | os.PathLike[str]) -> bytes:
    """The content of a file, without a trace in its time of last use."""
    with open(path, "rb", opener=open_unnoticed) as file:
        return file.read()


def parse_mounts(table: bytes) -> Iterator[Filesystem]:
    r"""The entries of a mountinfo file, in order.

    Examples:
        >>> list(parse_mounts(rb"36 35 98:0 / /my\040disk rw shared:1 - ext3 /dev/root rw"))
        [Filesystem(point='/my disk', kind='ext3')]
    """
    for line in table.splitlines():
        before, dash, after = line.partition(b" - ")
        fields, kind = before.split(), after.split()
        if dash and kind and len(fields) >= _LEAST_FIELDS:
            point = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), fields[_POINT_FIELD])
            yield Filesystem(os.fsdecode(point), os.fsdecode(kind[0]))


def holder(path: str, mounts: Iterable[Filesystem]) -> Filesystem:
    """The file system, of those mounted, that holds an absolute path without links."""
    found = UNKNOWN
    for mount in mounts:
        inside = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        # Of two at the same point the later one hides the other.
        if inside and len(mount.point) >= len(found.point):
            found = mount
    return found
