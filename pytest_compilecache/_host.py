"""The questions that are asked of a machine, each answered without importing what it is about."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_compilecache._compiler import identify_compiler
from pytest_compilecache._processor import read_processor

if TYPE_CHECKING:
    from collections.abc import Mapping


_LOADERS = Path("/lib")


class Host:
    """One machine; each question is one method, so that a test can fake any answer."""

    def package_folder(self, package: str) -> Path | None:
        """Finds the folder of an installed package without importing it."""
        try:
            found = importlib.util.find_spec(package)
        except (ImportError, ValueError):  # a stub without a spec stands in sys.modules
            return None
        return Path(found.origin).parent if found and found.origin else None

    def python_implementation(self) -> str:
        """Names the interpreter, such as ``cpython``."""
        return sys.implementation.name

    def python_version(self) -> str:
        """Gives the language version down to the patch level, such as ``3.11.7``."""
        return sys.version.split()[0]

    def python_abi(self) -> str:
        """Names the interpreter's binary interface, such as ``cpython-311-x86_64-linux-gnu``."""
        return importlib.machinery.EXTENSION_SUFFIXES[0].strip(".").removesuffix(".so")

    def operating_system(self) -> str:
        """Names the operating system, such as ``linux``."""
        return sys.platform

    def machine(self) -> str:
        """Names the architecture, such as ``x86_64``."""
        return os.uname().machine

    def hostname(self) -> str:
        """Gives the machine's own name, which separates where nothing else can."""
        return os.uname().nodename

    def libc(self) -> str:
        """Names the C library and its version, such as ``glibc 2.36``."""
        if sys.platform == "darwin":
            return f"darwin {os.uname().release}"  # it comes with the system
        try:
            # Not platform.libc_ver: that reads the interpreter's whole file.
            glibc = os.confstr("CS_GNU_LIBC_VERSION")
        except (ValueError, OSError):
            glibc = None
        return glibc or _musl() or f"unknown on {self.hostname()}"

    def processor(self) -> Mapping[str, str]:
        """Reads the kernel's description of the first processor."""
        return read_processor()

    def compiler(self, environ: Mapping[str, str], memo: Path | None) -> str:
        """Names the C++ compiler that torch would run."""
        return identify_compiler(environ, hostname=self.hostname(), memo=memo)


def _musl() -> str:
    # musl has no call that tells its version, but one file is all of it.
    for loader in sorted(_LOADERS.glob("ld-musl-*.so.1")):
        try:
            content = loader.read_bytes()
        except OSError:
            continue
        return f"musl {hashlib.sha256(content).hexdigest()[:16]}"
    return ""
