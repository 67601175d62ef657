"""How a restore or a save ended, in words for people and values for other processes."""

from __future__ import annotations

import enum
import errno
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_compilecache.errors import CompileCacheError

if TYPE_CHECKING:
    from pytest_compilecache.workspace.heal import TornFile

TIME_LIMIT_REMEDY = "the next save goes on; look at the store's disk or mount, or allow more time"


class OperationStatus(enum.Enum):
    """How a restore or a save ended.

    ``SUCCESS``: all was brought, or saved. ``SKIPPED``: there was nothing to do. ``ERROR``:
    nothing, or not all, could be done. ``DOES_NOT_EXIST``: the store has nothing to restore.
    """

    SUCCESS = "success"
    SKIPPED = "skipped"
    ERROR = "error"
    DOES_NOT_EXIST = "does_not_exist"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that went wrong and cost only time.

    Attributes:
        subject: The thing: a path, a pack, a store.
        reason: What is wrong with it.
        remedy: What a person can do.
    """

    subject: str
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        sentence = f"{self.subject}: {self.reason}"
        return f"{sentence} ({self.remedy})" if self.remedy else sentence


@dataclass(frozen=True, slots=True)
class CacheResult:
    """What a restore or a save did.

    Attributes:
        status: How it ended.
        files: Files written to the workspace, or packed.
        bytes: Their bytes, uncompressed.
        packs: Packs that files were taken from, or that were made.
        seconds: How long it took.
        refreshed: Of the files packed, those that were there already, in packs about to expire.
        duplicates: Entries left out because another one of the same key says the same.
        merged: Packs whose content a new one took over.
        left_out: Files that should have been packed and were not, each with the reason. One
            that vanished or changed meanwhile is left to the next save; any other makes the
            save an error, and is named in `troubles`, too.
        torn: Torn files that were moved to quarantine before.
        killed: Whether a process that used the workspace is known to have been killed since
            the last look at it. Without that, nothing says where torn files come from.
        troubles: What went wrong.
        usable: Whether torch may be pointed at the workspace.
        explanation: Why a store that holds packs had none to restore, or empty.
        workspace_bytes: What the workspace held at most before, of what may be evicted; None
            where it was not looked at.
    """

    status: OperationStatus
    files: int = 0
    bytes: int = 0
    packs: int = 0
    seconds: float = 0.0
    refreshed: int = 0
    duplicates: int = 0
    merged: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    torn: tuple[TornFile, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    usable: bool = True
    explanation: str = ""
    killed: bool = False
    workspace_bytes: int | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, for another process."""
        return {**asdict(self), "status": self.status.value}

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> CacheResult:
        """The inverse of ``to_mapping``, also after a journey through JSON."""
        from pytest_compilecache.workspace.heal import TornFile  # noqa: PLC0415

        return cls(
            **{
                **values,
                "status": OperationStatus(values["status"]),
                "torn": tuple(TornFile(**item) for item in values["torn"]),
                "troubles": tuple(Trouble(**item) for item in values["troubles"]),
            }
        )


class TimeUpError(CompileCacheError, TimeoutError):
    """A save reached its time limit."""


def trouble(subject: object, error: Exception) -> Trouble:
    """An error in words for a person."""
    if isinstance(error, CompileCacheError):
        return Trouble(error.subject, error.reason, error.remedy)
    if isinstance(error, OSError):
        named = error.filename or subject
        return Trouble(
            str(named), error.strerror or str(error), _REMEDIES.get(error.errno or 0, "")
        )
    return Trouble(str(subject), f"{type(error).__name__}: {error}", "please report this")


_REMEDIES = {
    errno.ENOSPC: "free space there, or choose another place",
    errno.EDQUOT: "free space in your quota, or choose another place",
    errno.EACCES: "give this user access, or choose another place",
    errno.EPERM: "give this user access, or choose another place",
    errno.EROFS: "it is mounted read-only: choose another place, or do not save",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
