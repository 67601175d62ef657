"""Which files were already found whole, so that a session judges only what is new.

It also knows the entries that were left out because another one says the same. Losing
it costs time and nothing else; a file whose size or time differs is judged anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_compilecache.workspace.place import Workspace, write_atomically
from pytest_compilecache.workspace.scan import WorkspaceFile

_VERSION = 2
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Ledger:
    """The files found whole, each by size and time of change.

    Attributes:
        path: Where it is kept.
        seen: Size and time of change of each file, as a list of two.
        twins: Entries that are not needed, each with the one that says the same.
        changed: Whether it has to be written.
    """

    path: Path
    seen: dict[str, Any] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, workspace: Workspace) -> Ledger:
        """Read the ledger; a missing or unreadable one is empty."""
        path = workspace.state / "whole.json"
        try:
            if path.stat().st_size > _MAX_BYTES:
                return cls(path)
            text = json.loads(path.read_bytes())
            if text["version"] != _VERSION or text["boot"] != _boot():
                return cls(path)
            seen, twins = text["files"], text["twins"]
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path)
        if not (isinstance(seen, dict) and isinstance(twins, dict)):
            return cls(path)
        # What stands in it is not looked at: anything but the right list is a file not known.
        return cls(path, seen, {a: b for a, b in twins.items() if isinstance(b, str)})

    def knows(self, file: WorkspaceFile) -> bool:
        """Whether the file was found whole as it is now."""
        return bool(self.seen.get(file.path) == [file.size, file.modified])

    def add(self, file: WorkspaceFile) -> None:
        """Note that the file is whole."""
        self.seen[file.path] = [file.size, file.modified]
        self.changed = True

    def add_restored(self, path: str, size: int, modified: int) -> None:
        """Note that a file was written whole, its digest checked."""
        self.seen[path] = [size, modified]
        self.changed = True

    def add_twin(self, path: str, twin: str) -> None:
        """Note that an entry is not needed while another one is there."""
        self.twins[path] = twin
        self.changed = True

    def save_restored(self) -> None:
        """Write the ledger with what was restored, if anything was.

        Raises:
            OSError: It cannot be written.
        """
        if self.changed:
            self._write(self.seen)

    def save(self, present: Mapping[str, WorkspaceFile]) -> None:
        """Write the ledger, without files that are gone, if there is news.

        Raises:
            OSError: It cannot be written.
        """
        if not self.changed and len(self.seen) <= len(present):
            return
        self._write({path: self.seen[path] for path in present if path in self.seen})

    def _write(self, files: Mapping[str, Any]) -> None:
        twins = {path: twin for path, twin in self.twins.items() if twin in files}
        values = {"version": _VERSION, "boot": _boot(), "files": files, "twins": twins}
        content = json.dumps(values, separators=(",", ":"))
        write_atomically(self.path, content.encode())
        self.changed = False


def _boot() -> str:
    """What tells this run of the machine from others.

    Files are not synced: after a power failure, one of the right size and time may hold zeros.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
