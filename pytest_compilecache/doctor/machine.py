"""Checks of where things lie: folders, the store, clocks and limits. And all checks in a row."""

from __future__ import annotations

import functools
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_compilecache._filesystem import filesystem_of, kernel_locks_hold
from pytest_compilecache.doctor import software
from pytest_compilecache.doctor.findings import Diagnosis, Finding, fine
from pytest_compilecache.environment import Environment
from pytest_compilecache.errors import CompileCacheError, StoreError
from pytest_compilecache.places import is_replaceable
from pytest_compilecache.store import folder_of, open_store
from pytest_compilecache.store.listing import list_readable

_CHECK_SECONDS = 60.0
_LITTLE_BYTES = 2 << 30
_FEW_FILES = 20_000
_FEW_DESCRIPTORS = 1024
_SLOW_SECONDS = 5.0
_SKEW_SECONDS = 60.0
_SENSIBLE_TIME = 1_735_689_600.0  # 2025

NO_ANSWER = Finding(
    "A check that does not end",
    "error",
    "no answer within {seconds:.0f} s",
    "see whether its file system hangs",
    "The check was given up. In most cases a folder lies on a mount whose server has gone: every "
    "process that looks at it hangs.",
)
UNREADABLE_FOLDER = Finding(
    "A folder that cannot be looked at",
    "error",
    "it cannot be looked at: {reason}",
    "",
    "In most cases the server of a mount has gone, or this user may not enter a folder above it.",
)
NOT_WRITABLE = Finding(
    "A folder that cannot be written to",
    "error",
    "{folder} cannot be written to",
    "choose another place",
    "Torch and the plugin work in that folder. Where they cannot, every session is cold.",
)
FOREIGN_OWNER = Finding(
    "A folder of another user",
    "error",
    "it belongs to user {owner}, who could plant machine code there",
    "choose a folder of your own",
    "Torch runs what it finds there. The plugin refuses such a folder.",
)
REPLACEABLE = Finding(
    "A folder that everybody can replace",
    "error",
    "everybody can replace what lies in {folder}",
    "chmod +t, or choose another place",
    "Another user could put another folder in its place. The plugin refuses it.",
)
NOEXEC = Finding(
    "A noexec mount",
    "error",
    "it is mounted noexec: compiled kernels cannot be loaded from it",
    "choose another place, or mount it with exec",
    "The compiler works, and then every kernel fails to load.",
)
READ_ONLY = Finding(
    "A read-only mount",
    "error",
    "it is mounted read-only",
    "choose another place",
    "Nothing can be compiled or restored there.",
)
LITTLE_SPACE = Finding(
    "Little space",
    "warning",
    "only {megabytes:.0f} MB are free",
    "free some space",
    "A precompiled header alone takes more than 100 MB. A compiler on a full disk leaves torn "
    "files. They are healed, but what they were for runs eager or is compiled again.",
)
FEW_INODES = Finding(
    "Few inodes",
    "warning",
    "only {inodes} inodes are free",
    "delete small files",
    "A cache consists of many small files. For it the disk is full although bytes are free.",
)
NETWORK_FOLDER = Finding(
    "A workspace on a network file system",
    "note",
    "it lies on a network file system ({kind}): nothing is evicted there",
    "a local folder is faster and safer",
    "There, kernel locks may hold on one machine only, so it is not known whether a session on "
    "another machine still uses the folder.",
)
STORE_UNUSABLE = Finding(
    "A store that cannot be used",
    "error",
    "{reason}",
    "{remedy}",
    "Its place cannot be read as a store. Sessions are cold, pass all the same, and warn.",
)
STORE_PARTLY_HIDDEN = Finding(
    "An environment of the store that cannot be listed",
    "warning",
    "{key} cannot be listed: {reason}",
    "{remedy}",
    "Machines of that environment are cold, and nothing of it is pruned. The others are served.",
)
NO_STORE_YET = Finding(
    "No store yet",
    "note",
    "it does not exist yet",
    "the first save makes it",
    "Nothing was saved here before. If something was, the place is misspelled or not mounted.",
)
NO_STORE_POSSIBLE = Finding(
    "A store that cannot be made",
    "error",
    "it does not exist yet, and {folder} cannot be written to",
    "choose another place, or have the folder made for you",
    "No session of this user will ever save there.",
)
SLOW_STORE = Finding(
    "A slow store",
    "warning",
    "listing its {count} objects took {seconds:.1f} s",
    "prune it, or move it nearer",
    "Every session lists its environment's packs at the start.",
)
STORE_IS_READ = Finding(
    "A store that is only read",
    "note",
    "{count} objects; it is only read here",
    "",
    "This user may not write to it. That is right for builds of code from forks, and a mistake "
    "in the builds that should save.",
)
STORE_BY_LEASES = Finding(
    "A store on a network file system",
    "note",
    "on a network file system ({kind}): savers take turns by leases, not by locks",
    "",
    "Everything holds there as well. A saver that dies keeps its turn until its lease runs out.",
)
STORE_NOT_WRITTEN = Finding(
    "A store that refuses writes",
    "error",
    "it cannot be written: {reason}",
    "",
    "The permissions allow writing, but it fails: the disk is full, a quota is used up, or the "
    "mount lost its server.",
)
CLOCKS_DIFFER = Finding(
    "Clocks that differ",
    "warning",
    "its clock is {ahead:+.0f} s from this machine's",
    "synchronise the clocks; ages go by the store's",
    "Ages decide what expires. A saver whose clock is an hour or more off does not prune.",
)
WRONG_CLOCK = Finding(
    "A wrong clock",
    "error",
    "this machine's clock is wrong: {date}",
    "set it; what it saves would be deleted as too old",
    "It shows a time before this package existed.",
)
FEW_DESCRIPTORS = Finding(
    "Few open files",
    "warning",
    "only {count} files may be open at once",
    "ulimit -n 4096",
    "Torch compiles in several processes at once, and each keeps files open.",
)
FINDINGS = tuple(each for each in tuple(globals().values()) if isinstance(each, Finding))


@dataclass(frozen=True, slots=True)
class Machine:
    """What is examined.

    Attributes:
        environ: The user's variables.
        folders: The folders that torch and we work in, each with what it is.
    """

    environment: Environment
    environ: Mapping[str, str]
    folders: Mapping[str, Path]
    store: str


def diagnose(machine: Machine, seconds: float = _CHECK_SECONDS) -> list[Diagnosis]:
    """Check everything, in an order that puts causes before their consequences.

    Args:
        machine: What is examined.
        seconds: How long one check may take.
    """
    environment, partial = machine.environment, functools.partial
    checks: list[tuple[str, Callable[[], Iterable[Diagnosis]]]] = [
        ("torch", partial(software.check_torch, environment)),
        ("C++ compiler", partial(software.check_compiler, environment)),
        ("processor", partial(software.check_processor, environment)),
        ("variables", partial(software.check_variables, machine.environ)),
        *(
            (f"{what} {folder}", partial(check_folder, f"{what} {folder}", folder))
            for what, folder in machine.folders.items()
        ),
        (f"store {machine.store}", partial(check_store, machine.store)),
        ("limits", check_limits),
    ]
    return [found for what, check in checks for found in _within(seconds, what, check)]


def _within(
    seconds: float, what: str, check: Callable[[], Iterable[Diagnosis]]
) -> Iterable[Diagnosis]:
    """What a check finds; that it hangs, where it does."""
    found: list[Diagnosis] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            found.extend(check())
        except Exception as error:  # noqa: BLE001  (raised again in the thread that waits)
            errors.append(error)

    # A daemon, because a system call on a dead mount cannot be ended.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return (NO_ANSWER.about(what, seconds=seconds),)
    if errors:
        raise errors[0]
    return found


def check_folder(subject: str, folder: Path) -> Iterator[Diagnosis]:
    """Whether torch can work in a folder, or in one that is made where none is yet."""
    nearest = _nearest(folder)
    try:
        status = os.statvfs(nearest)
        owner = nearest.stat().st_uid
    except OSError as error:
        yield UNREADABLE_FOLDER.about(subject, reason=error.strerror)
        return
    problems = list(_problems(subject, folder, nearest, owner, status))
    yield from problems
    if not problems:
        free = status.f_bavail * status.f_frsize / 1e9
        yield fine(subject, f"{free:.1f} GB free")


def _problems(
    subject: str, folder: Path, nearest: Path, owner: int, status: os.statvfs_result
) -> Iterator[Diagnosis]:
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield NOT_WRITABLE.about(subject, folder=nearest)
    if nearest == folder and owner not in {os.getuid(), 0}:
        yield FOREIGN_OWNER.about(subject, owner=owner)
    if is_replaceable(nearest):
        yield REPLACEABLE.about(subject, folder=nearest)
    if status.f_flag & os.ST_NOEXEC:
        yield NOEXEC.about(subject)
    if status.f_flag & os.ST_RDONLY:
        yield READ_ONLY.about(subject)
    if status.f_bavail * status.f_frsize < _LITTLE_BYTES:
        megabytes = status.f_bavail * status.f_frsize / 1e6
        yield LITTLE_SPACE.about(subject, megabytes=megabytes)
    if status.f_files > 0 and status.f_favail < _FEW_FILES:
        yield FEW_INODES.about(subject, inodes=status.f_favail)
    if not kernel_locks_hold(nearest):
        kind = filesystem_of(nearest).kind or "unknown"
        yield NETWORK_FOLDER.about(subject, kind=kind)


def _nearest(folder: Path) -> Path:
    while not os.path.exists(folder):  # noqa: PTH110  (Path.exists raises where access is refused)
        folder = folder.parent
    return folder


def check_store(store: str) -> Iterator[Diagnosis]:
    """Whether the store can be listed and written to, and how fast."""
    subject = f"store {store}"
    try:
        folder = folder_of(store)
    except CompileCacheError as error:
        yield STORE_UNUSABLE.about(subject, reason=error.reason, remedy=error.remedy)
        return
    if not os.path.isdir(folder):  # noqa: PTH112  (a mount whose server has gone raises)
        nearest = _nearest(folder)
        if os.access(nearest, os.W_OK | os.X_OK):
            yield NO_STORE_YET.about(subject)
        else:
            yield NO_STORE_POSSIBLE.about(subject, folder=nearest)
        return
    started = time.monotonic()
    try:
        readable = list_readable(open_store(store))
    except StoreError as error:
        yield STORE_UNUSABLE.about(subject, reason=error.reason, remedy=error.remedy)
        return
    seconds = time.monotonic() - started
    count = len(readable.objects)
    for key, unlisted in readable.unlisted.items():
        facts = {"key": key, "reason": unlisted.reason, "remedy": unlisted.remedy}
        yield STORE_PARTLY_HIDDEN.about(subject, **facts)
    if seconds > _SLOW_SECONDS:
        yield SLOW_STORE.about(subject, count=count, seconds=seconds)
    if not os.access(folder, os.W_OK):
        yield STORE_IS_READ.about(subject, count=count)
        return
    yield fine(subject, f"{count} objects")
    if not kernel_locks_hold(folder):
        yield STORE_BY_LEASES.about(subject, kind=filesystem_of(folder).kind)
    yield from _clock(subject, folder)


def _clock(subject: str, folder: Path) -> Iterator[Diagnosis]:
    """Compare the file system's clock with ours; ages are by the former."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            ahead = os.fstat(file.fileno()).st_mtime - time.time()
    except OSError as error:
        yield STORE_NOT_WRITTEN.about(subject, reason=error.strerror)
        return
    if abs(ahead) > _SKEW_SECONDS:
        yield CLOCKS_DIFFER.about(subject, ahead=ahead)


def check_limits() -> Iterator[Diagnosis]:
    """The clock, and the limit of open files."""
    if time.time() < _SENSIBLE_TIME:
        yield WRONG_CLOCK.about("clock", date=time.strftime("%Y-%m-%d"))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEW_DESCRIPTORS:
        yield FEW_DESCRIPTORS.about("limits", count=soft)
