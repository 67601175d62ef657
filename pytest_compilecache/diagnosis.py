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
from typing import Literal

from pytest_compilecache._filesystem import filesystem_of, kernel_locks_hold
from pytest_compilecache.compiling.toolchain import Toolchain
from pytest_compilecache.environment import UNSET, Environment
from pytest_compilecache.errors import CompileCacheError, StoreError
from pytest_compilecache.places import is_replaceable
from pytest_compilecache.store import folder_of, open_store

Level = Literal["ok", "note", "warning", "error"]

_LEAST_TORCH = (2, 7)
_LITTLE_BYTES = 2 << 30
_FEW_FILES = 20_000
_FEW_DESCRIPTORS = 1024
_SLOW_SECONDS = 5.0
_SKEW_SECONDS = 60.0
_SENSIBLE_TIME = 1_735_689_600.0  # 2025


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found about one thing.

    Attributes:
        subject: The thing.
        level: Whether it is good, worth knowing, a risk, or broken.
        finding: What was found.
        remedy: What a person can do, or empty.
    """

    subject: str
    level: Level
    finding: str
    remedy: str = ""


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
        remedy = "install it in the same environment as this command"
        yield Diagnosis("torch", "error", "it is not installed here", remedy)
        return
    version = _version(found)
    if version < _LEAST_TORCH:
        yield Diagnosis("torch", "error", f"{found} is not supported", "install 2.7 or later")
    else:
        yield Diagnosis("torch", "ok", found)
    for before, finding, remedy in _KNOWN_BUGS:
        if version < before:
            yield Diagnosis("torch", "note", finding, remedy)


# What is known of versions before those, by torch's own changes.
_KNOWN_BUGS = (
    (
        (2, 8),
        "before 2.8, torch precompiles no headers, so that every kernel compiles longer",
        "upgrade torch, if compiling cold matters",
    ),
    (
        (2, 11),
        "before 2.11, processes that share a folder may read each other's unfinished entries",
        "they are misses, not errors, where our workspaces are used",
    ),
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
        yield Diagnosis("C++ compiler", "error", broken)
    else:
        yield Diagnosis("C++ compiler", "ok", patient.environment.fields.get("cxx", "unknown"))


def _processor(patient: Patient) -> Iterator[Diagnosis]:
    fields = patient.environment.fields
    pinned = fields.get("aten_cpu_capability", UNSET)
    level: Level = "note" if pinned != UNSET else "ok"
    told = f"{fields.get('cpu', 'unknown')}; ATEN_CPU_CAPABILITY {pinned}"
    yield Diagnosis("processor", level, told)


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
            yield Diagnosis(f"{name}={value}", "warning", effect, "unset it, if that is not meant")


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
        yield Diagnosis(subject, "error", f"it cannot be looked at: {error.strerror}")
        return
    problems = list(_problems(subject, folder, nearest, owner, status))
    yield from problems
    if not problems:
        free = status.f_bavail * status.f_frsize / 1e9
        yield Diagnosis(subject, "ok", f"{free:.1f} GB free")


def _problems(
    subject: str, folder: Path, nearest: Path, owner: int, status: os.statvfs_result
) -> Iterator[Diagnosis]:
    if not os.access(nearest, os.W_OK | os.X_OK):
        yield Diagnosis(subject, "error", f"{nearest} cannot be written to", "choose another place")
    if nearest == folder and owner not in {os.getuid(), 0}:
        reason = f"it belongs to user {owner}, who could plant machine code there"
        yield Diagnosis(subject, "error", reason, "choose a folder of your own")
    if is_replaceable(nearest):
        reason = f"everybody can replace what lies in {nearest}"
        yield Diagnosis(subject, "error", reason, "chmod +t, or choose another place")
    if status.f_flag & os.ST_NOEXEC:
        reason = "it is mounted noexec: compiled kernels cannot be loaded from it"
        yield Diagnosis(subject, "error", reason, "choose another place, or mount it with exec")
    if status.f_flag & os.ST_RDONLY:
        yield Diagnosis(subject, "error", "it is mounted read-only", "choose another place")
    if status.f_bavail * status.f_frsize < _LITTLE_BYTES:
        free = status.f_bavail * status.f_frsize / 1e6
        yield Diagnosis(subject, "warning", f"only {free:.0f} MB are free", "free some space")
    if status.f_files > 0 and status.f_favail < _FEW_FILES:
        yield Diagnosis(
            subject, "warning", f"only {status.f_favail} inodes are free", "delete small files"
        )
    if not kernel_locks_hold(nearest):
        kind = filesystem_of(nearest).kind or "unknown"
        reason = f"it lies on a network file system ({kind}): nothing is evicted there"
        yield Diagnosis(subject, "note", reason, "a local folder is faster and safer")


def _nearest(folder: Path) -> Path:
    while not os.path.exists(folder):  # noqa: PTH110  (Path.exists raises where access is refused)
        folder = folder.parent
    return folder


def _store(patient: Patient) -> Iterator[Diagnosis]:
    subject = f"store {patient.store}"
    try:
        folder = folder_of(patient.store)
    except CompileCacheError as error:
        yield Diagnosis(subject, "error", error.reason, error.remedy)
        return
    if not os.path.isdir(folder):  # noqa: PTH112  (a mount whose server has gone raises)
        nearest = _nearest(folder)
        level: Level = "note" if os.access(nearest, os.W_OK | os.X_OK) else "error"
        yield Diagnosis(subject, level, "it does not exist yet", "the first save makes it")
        return
    started = time.monotonic()
    try:
        count = len(open_store(patient.store).list(""))
    except StoreError as error:
        yield Diagnosis(subject, "error", error.reason, error.remedy)
        return
    seconds = time.monotonic() - started
    if seconds > _SLOW_SECONDS:
        told = f"listing its {count} objects took {seconds:.1f} s"
        yield Diagnosis(subject, "warning", told, "prune it, or move it nearer")
    if not os.access(folder, os.W_OK):
        yield Diagnosis(subject, "note", f"{count} objects; it is only read here")
        return
    yield Diagnosis(subject, "ok", f"{count} objects")
    if not kernel_locks_hold(folder):
        kind = filesystem_of(folder).kind
        told = f"on a network file system ({kind}): savers take turns by leases, not by locks"
        yield Diagnosis(subject, "note", told)
    yield from _clock(subject, folder)


def _clock(subject: str, folder: Path) -> Iterator[Diagnosis]:
    """Compare the file system's clock with ours; ages are by the former."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            ahead = os.fstat(file.fileno()).st_mtime - time.time()
    except OSError as error:
        yield Diagnosis(subject, "error", f"it cannot be written: {error.strerror}")
        return
    if abs(ahead) > _SKEW_SECONDS:
        told = f"its clock is {ahead:+.0f} s from this machine's"
        yield Diagnosis(subject, "warning", told, "synchronise the clocks; ages go by the store's")


def _machine(_: Patient) -> Iterator[Diagnosis]:
    if time.time() < _SENSIBLE_TIME:
        told = "this machine's clock is wrong: " + time.strftime("%Y-%m-%d")
        yield Diagnosis("clock", "error", told, "set it; what it saves would be deleted as too old")
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEW_DESCRIPTORS:
        told = f"only {soft} files may be open at once"
        yield Diagnosis("limits", "warning", told, "ulimit -n 4096")


_LOOKS: Iterable[Callable[[Patient], Iterator[Diagnosis]]] = (
    _torch,
    _compiler,
    _processor,
    _variables,
    _folders,
    _store,
    _machine,
)
