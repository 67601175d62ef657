"""Others who move a tree of artifacts: ``cp -r``, tar with zstd, and b10-transfer from PyPI.

Each does the whole of its own work and is timed from outside, b10-transfer
from inside, as we are: without the start of Python and the import of torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).parent


def timed(*command: object) -> float:
    """Seconds of a command, which must succeed."""
    started = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def copy(tree: Path, target: Path) -> float:
    """Seconds of ``cp -r``."""
    return timed("cp", "-r", tree, target)


class Tar:
    """A tar archive compressed by zstd: by the two programs where they are, or else by Python."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self._by_programs = bool(shutil.which("zstd") and shutil.which("tar"))
        self.name = "tar --zstd" if self._by_programs else "tarfile and zstandard"

    def pack(self, tree: Path) -> float:
        """Seconds to pack."""
        if self._by_programs:
            return timed("tar", "--zstd", "-cf", self.archive, "-C", tree, ".")
        import zstandard  # noqa: PLC0415

        started = time.perf_counter()
        compressor = zstandard.ZstdCompressor(level=3)
        with (
            self.archive.open("wb") as raw,
            compressor.stream_writer(raw) as file,
            tarfile.open(fileobj=file, mode="w|") as archive,
        ):
            archive.add(tree, ".")
        return time.perf_counter() - started

    def unpack(self, target: Path) -> float:
        """Seconds to unpack."""
        target.mkdir()
        if self._by_programs:
            return timed("tar", "--zstd", "-xf", self.archive, "-C", target)
        import zstandard  # noqa: PLC0415

        started = time.perf_counter()
        decompressor = zstandard.ZstdDecompressor()
        with (
            self.archive.open("rb") as raw,
            decompressor.stream_reader(raw) as file,
            tarfile.open(fileobj=file, mode="r|") as archive,
        ):
            archive.extractall(target, filter="data")
        return time.perf_counter() - started


class B10Transfer:
    """b10-transfer with its own variables, on the same file system as far as it lets.

    It takes its store below ``/cache/model`` and its archives below ``/cache``
    or ``/app`` only: a folder of its own is made there and removed. Its
    demands on free space (100 GB by default) are lowered, which costs nothing.
    ``TORCHINDUCTOR_CACHE_DIR`` is all that it carries; here the headers lie
    inside, so that it moves the same bytes as the others.

    Args:
        scratch: Where a virtual environment is made for it.
        python: A Python that has it and torch; where there is none, it is installed.

    Attributes:
        missing: Why it cannot be run, or empty.
    """

    _ALLOWED = Path("/cache/model")
    _CACHES = (Path("/tmp"), Path("/cache"), Path.home() / ".cache")

    def __init__(self, scratch: Path, python: str | None) -> None:
        self.missing = ""
        self._folder = self._ALLOWED / f"compilecache-bench-{os.getpid()}"
        self._made: list[Path] = []
        self.store = self._folder / "store"
        if not any(scratch.resolve().is_relative_to(each) for each in self._CACHES):
            self.missing = f"it takes caches below {', '.join(map(str, self._CACHES))} only"
            return
        try:
            self._python = python or self._install(scratch / "b10-venv")
            self._make(self._folder / "work")
        except (OSError, subprocess.SubprocessError) as error:
            self.missing = str(error)

    def act(self, action: str, tree: Path) -> tuple[float, str]:
        """Seconds of ``save`` or ``load``, and the status that it returned."""
        variables = {
            "BASETEN_FS_ENABLED": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(tree),
            "B10FS_CACHE_DIR": str(self.store),
            "LOCAL_WORK_DIR": str(self._folder / "work"),
            "MIN_B10FS_SPACE_MB": "1",
            "MIN_LOCAL_SPACE_MB": "1",
            "MAX_CONCURRENT_SAVES": "1",
        }
        command = [self._python, str(HERE / "b10_operation.py"), action]
        done = subprocess.run(
            command, env={**os.environ, **variables}, check=True, capture_output=True, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        return found["seconds"], found["status"]

    def close(self) -> None:
        """Remove its folder, and those above it that were made here."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _make(self, folder: Path) -> None:
        self._made += [each for each in reversed(folder.parents) if not each.exists()]
        folder.mkdir(parents=True)

    def _install(self, folder: Path) -> str:
        """A virtual environment that borrows torch from this one."""
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        for name in ("purelib", "platlib"):
            found = subprocess.run(
                [str(python), "-c", f"import sysconfig; print(sysconfig.get_path({name!r}))"],
                check=True, capture_output=True, text=True,
            ).stdout.strip()  # fmt: skip
            Path(found, f"borrowed-{name}.pth").write_text(sysconfig.get_path(name))
        install = [str(python), "-m", "pip", "install", "-q", "--no-deps", "b10-transfer"]
        subprocess.run(install, check=True, stdout=sys.stderr)
        return str(python)
