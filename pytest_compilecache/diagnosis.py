"""Looks for what would slow down, break or endanger the cache, and says what to do.

It imports neither pytest nor torch, and leaves nothing behind.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_compilecache import findings
from pytest_compilecache._filesystem import filesystem_of, kernel_locks_hold
from pytest_compilecache.compiling.toolchain import Toolchain
from pytest_compilecache.environment import UNSET, Environment
from pytest_compilecache.errors import CompileCacheError, StoreError
from pytest_compilecache.findings import Diagnosis, Finding, fine
from pytest_compilecache.places import is_replaceable
from pytest_compilecache.store import folder_of, open_store
from pytest_compilecache.store.listing import list_readable

_LEAST_TORCH = (2, 7)
_LITTLE_BYTES = 2 << 30
_FEW_FILES = 20_000
_FEW_DESCRIPTORS = 1024
_SLOW_SECONDS = 5.0
_SKEW_SECONDS = 60.0
_SENSIBLE_TIME = 1_735_689_600.0  # 2025


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at.

    Attributes:
        environment: The environment.
        environ: The variables.
        folders: The folders that torch and we work in, each with what it is.
        store: The store.
    """

    environment: Environment
    environ: Mapping[str, str]
    folders: Mapping[str, Path]
    store: str


def diagnose(patient: Patient) -> list[Diagnosis]:
    """Look at everything, in an order that puts causes before their consequences."""
    return [found for look in _LOOKS for found in look(patient)]


def _torch(patient: Patient) -> Iterator[Diagnosis]:
    fields = patient.environment.fields
    found = fields.get("torch", "absent")
    if found == "absent":
        yield findings.TORCH_ABSENT.about("torch")
        return
    version = _version(found)
    if version < _LEAST_TORCH:
        yield findings.TORCH_TOO_OLD.about("torch", version=found)
    else:
        yield fine("torch", found)
    for before, finding in _KNOWN_BUGS:
        if version < before:
            yield finding.about("torch")


# What is known of versions before those, by torch's own changes.
_KNOWN_BUGS: tuple[tuple[tuple[int, int], Finding], ...] = (
    ((2, 8), findings.SLOW_HEADERS),
    ((2, 11), findings.UNFINISHED_ENTRIES),
)


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("+", maxsplit=1)[0].split(".")[:2]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _compiler(patient: Patient) -> Iterator[Diagnosis]:
    broken = Toolchain().check()
    if broken:
        yield findings.COMPILER_BROKEN.about("C++ compiler", reason=broken)
    else:
        yield fine("C++ compiler", patient.environment.fields.get("cxx", "unknown"))


def _processor(patient: Patient) -> Iterator[Diagnosis]:
    fields = patient.environment.fields
    pinned = fields.get("aten_cpu_capability", UNSET)
    processor = fields.get("cpu", "unknown")
    if pinned == UNSET:
        yield fine("processor", f"{processor}; ATEN_CPU_CAPABILITY {pinned}")
    else:
        yield findings.PROCESSOR_PINNED.about("processor", processor=processor, pinned=pinned)


_SWITCHES = (
    ("TORCH_COMPILE_DISABLE", "1", "torch.compile does nothing"),
    ("TORCHDYNAMO_DISABLE", "1", "torch.compile does nothing"),
    ("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1", "Inductor uses no cache at all"),
    ("TORCHINDUCTOR_FX_GRAPH_CACHE", "0", "compiled graphs are not kept"),
    ("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0", "headers are not precompiled"),
)


def _variables(patient: Patient) -> Iterator[Diagnosis]:
    for name, value, effect in _SWITCHES:
        if patient.environ.get(name) == value:
            yield findings.SWITCHED_OFF.about(f"{name}={value}", effect=effect)


def _folders(patient: Patient) -> Iterator[Diagnosis]:
    for what, folder in patient.folders.items():
        yield from _folder(what, folder)


def _folder(what: str, folder: Path) -> Iterator[Diagnosis]:
    nearest = _nearest(folder)
    subject = f"{what} {folder}"
    try:
        status = os.statvfs(nearest)
        owner = nearest.stat().st_uid
    except OSError as error:
        yield findings.UNREADABLE_FOLDER.about(subject, reason=error.strerror)
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
        yield findings.NOT_WRITABLE.about(subject, folder=nearest)
    if nearest == folder and owner not in {os.getuid(), 0}:
        yield findings.FOREIGN_OWNER.about(subject, owner=owner)
    if is_replaceable(nearest):
        yield findings.REPLACEABLE.about(subject, folder=nearest)
    if status.f_flag & os.ST_NOEXEC:
        yield findings.NOEXEC.about(subject)
    if status.f_flag & os.ST_RDONLY:
        yield findings.READ_ONLY.about(subject)
    if status.f_bavail * status.f_frsize < _LITTLE_BYTES:
        megabytes = status.f_bavail * status.f_frsize / 1e6
        yield findings.LITTLE_SPACE.about(subject, megabytes=megabytes)
    if status.f_files > 0 and status.f_favail < _FEW_FILES:
        yield findings.FEW_INODES.about(subject, inodes=status.f_favail)
    if not kernel_locks_hold(nearest):
        kind = filesystem_of(nearest).kind or "unknown"
        yield findings.NETWORK_FOLDER.about(subject, kind=kind)


def _nearest(folder: Path) -> Path:
    while not os.path.exists(folder):  # noqa: PTH110  (Path.exists raises where access is refused)
        folder = folder.parent
    return folder


def _store(patient: Patient) -> Iterator[Diagnosis]:
    subject = f"store {patient.store}"
    try:
        folder = folder_of(patient.store)
    except CompileCacheError as error:
        yield findings.STORE_UNUSABLE.about(subject, reason=error.reason, remedy=error.remedy)
        return
    if not os.path.isdir(folder):  # noqa: PTH112  (a mount whose server has gone raises)
        nearest = _nearest(folder)
        if os.access(nearest, os.W_OK | os.X_OK):
            yield findings.NO_STORE_YET.about(subject)
        else:
            yield findings.NO_STORE_POSSIBLE.about(subject, folder=nearest)
        return
    started = time.monotonic()
    try:
        readable = list_readable(open_store(patient.store))
    except StoreError as error:
        yield findings.STORE_UNUSABLE.about(subject, reason=error.reason, remedy=error.remedy)
        return
    seconds = time.monotonic() - started
    count = len(readable.objects)
    for key, trouble in readable.unlisted.items():
        facts = {"key": key, "reason": trouble.reason, "remedy": trouble.remedy}
        yield findings.STORE_PARTLY_HIDDEN.about(subject, **facts)
    if seconds > _SLOW_SECONDS:
        yield findings.SLOW_STORE.about(subject, count=count, seconds=seconds)
    if not os.access(folder, os.W_OK):
        yield findings.STORE_IS_READ.about(subject, count=count)
        return
    yield fine(subject, f"{count} objects")
    if not kernel_locks_hold(folder):
        kind = filesystem_of(folder).kind
        yield findings.STORE_BY_LEASES.about(subject, kind=kind)
    yield from _clock(subject, folder)


def _clock(subject: str, folder: Path) -> Iterator[Diagnosis]:
    """Compare the file system's clock with ours; ages are by the former."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            ahead = os.fstat(file.fileno()).st_mtime - time.time()
    except OSError as error:
        yield findings.STORE_NOT_WRITTEN.about(subject, reason=error.strerror)
        return
    if abs(ahead) > _SKEW_SECONDS:
        yield findings.CLOCKS_DIFFER.about(subject, ahead=ahead)


def _machine(_: Patient) -> Iterator[Diagnosis]:
    if time.time() < _SENSIBLE_TIME:
        yield findings.WRONG_CLOCK.about("clock", date=time.strftime("%Y-%m-%d"))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEW_DESCRIPTORS:
        yield findings.FEW_DESCRIPTORS.about("limits", count=soft)


_LOOKS: Iterable[Callable[[Patient], Iterator[Diagnosis]]] = (
    _torch,
    _compiler,
    _processor,
    _variables,
    _folders,
    _store,
    _machine,
)
