"""The ``g++`` of a test's machine: logs what it is asked to build, and builds nothing twice.

Machines are new, so each would wait for the same precompiled headers and kernels; what an
equal command made of equal files elsewhere in this test session is copied instead, under
``SHIM_MEMORY``. What a machine is asked to build it logs and gets, as from a compiler.
Without that variable, and for commands that are not torch's, the compiler itself runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_NO_OUTPUT = {"-E", "--version", "-v", "-dumpversion"}


def main(arguments: list[str]) -> int:
    """Build, or remember; the exit code is the compiler's."""
    compiler = [os.environ["SHIM_REAL"], *arguments]
    if _NO_OUTPUT & set(arguments) or "-o" not in arguments:
        os.execv(compiler[0], compiler)
    with open(os.environ["SHIM_LOG"], "a") as log:  # noqa: PTH123  (starts in no time)
        log.write(" ".join(arguments) + "\n")
    memory = os.environ.get("SHIM_MEMORY")
    if not memory:
        os.execv(compiler[0], compiler)
    output = Path(arguments[arguments.index("-o") + 1])
    kept = Path(memory) / key(compiler, os.environ["SHIM_ROOT"])
    if not kept.exists():
        code = subprocess.run(compiler, check=False).returncode
        if code == 0:
            keep(output, kept)
        return code
    shutil.copyfile(kept, output)
    output.chmod(kept.stat().st_mode)
    return 0


def key(compiler: list[str], root: str) -> str:
    """Of the command and the files that it names, wherever the machine lies."""
    digest = hashlib.sha256()
    for word in compiler:
        digest.update(word.replace(root, "@").encode() + b"\0")
        if word.startswith(root) and os.path.isfile(word):  # noqa: PTH113
            content = Path(word).read_bytes()
            digest.update(content.replace(root.encode(), b"@") + b"\0")
    return digest.hexdigest()


def keep(output: Path, kept: Path) -> None:
    """Remember a whole file: others look for it at the same time."""
    partial = kept.with_suffix(f".{os.getpid()}")
    shutil.copy(output, partial)
    partial.rename(kept)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
