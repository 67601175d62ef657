"""A server's process; several of them can live in one process of a test."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from pytest_compilecache.api import ServerProcess
from pytest_compilecache.cache import CacheResult
from pytest_compilecache.server_settings import read_server_settings


@dataclass
class Server:
    """One process with variables of its own."""

    environ: dict[str, str]
    process: ServerProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = ServerProcess(self.environ)

    @property
    def inductor(self) -> Path:
        """Where torch would keep its artifacts."""
        return Path(self.environ["TORCHINDUCTOR_CACHE_DIR"])

    @property
    def packs(self) -> list[Path]:
        """The packs in its store."""
        return list(Path(self.environ["B10FS_CACHE_DIR"]).rglob("*.pack"))

    def load(self) -> CacheResult:
        """Load, as the call does."""
        return self.process.load(read_server_settings(self.process.users_environ))

    def compile(self, name: str = "cab", content: bytes = b"x = 1\n") -> Path:
        """Leave an artifact where torch would."""
        artifact = self.inductor / name[1:3] / f"{name}.py"
        artifact.parent.mkdir(exist_ok=True)
        artifact.write_bytes(content)
        return artifact

    def save(self) -> CacheResult:
        """Save, as the call does."""
        return self.process.save(read_server_settings(self.process.users_environ))


def deployment_in(folder: Path) -> dict[str, str]:
    """The variables of a deployment that keeps everything in one folder."""
    return {
        "PATH": os.environ["PATH"],
        "B10FS_CACHE_DIR": str(folder / "store"),
        "LOCAL_WORK_DIR": str(folder / "work"),
    }
