"""Which builds of torch and Triton are installed, read from their files and never by import."""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ABSENT = "absent"

_VERSION_FIELDS = {
    "torch": "__version__",
    "torch_git": "git_version",
    "torch_cuda": "cuda",
    "torch_hip": "hip",
    "torch_xpu": "xpu",
    "torch_debug": "debug",
}
_IDENTIFYING = ("torch", "torch_git")
_LIBRARIES = ("libtorch_cpu.so", "libtorch_cpu.dylib")
_MAX_SOURCE_BYTES = 1024 * 1024


def torch_fields(folder: Path | None, *, hostname: str) -> dict[str, str]:
    """Names the torch in a folder, for an environment.

    Args:
        folder: Where torch's package lies, or none where there is no torch.
        hostname: The machine's own name; it stands for what cannot be read,
            so that two machines with an odd torch are not taken for equal.
    """
    if folder is None:
        return dict.fromkeys((*_VERSION_FIELDS, "torch_library"), ABSENT)
    constants = _constants(folder / "version.py")
    fields = {field: _readable(constants.get(name)) for field, name in _VERSION_FIELDS.items()}
    unread = [field for field in _IDENTIFYING if fields[field] == "none"]
    return {
        **fields,
        **dict.fromkeys(unread, f"unknown on {hostname}"),
        "torch_library": _library(folder) or f"unknown on {hostname}",
    }


def triton_version(folder: Path | None, *, hostname: str) -> str:
    """Gives the version of the Triton in a folder."""
    if folder is None:
        return ABSENT
    version = _constants(folder / "__init__.py").get("__version__")
    return version if isinstance(version, str) else f"unknown on {hostname}"


def inductor_reads(folder: Path | None, variable: str) -> bool:
    """Tells whether this torch's Inductor knows an environment variable at all."""
    if folder is None:
        return False
    return f'"{variable}"'.encode() in _source(folder / "_inductor" / "config.py")


def _library(folder: Path) -> str:
    # Two builds of one release, say conda's with and without MKL, have one
    # version and one revision, and graphs of one call what the other lacks.
    for name in _LIBRARIES:
        with suppress(OSError):
            return f"{name} of {(folder / 'lib' / name).stat().st_size} bytes"
    return ""


def _constants(source: Path) -> dict[str, object]:
    """Reads the constants that a module assigns at its top, without running it."""
    try:
        statements = ast.parse(_source(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    constants: dict[str, object] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        if isinstance(statement.value, ast.Constant):
            value = statement.value.value
            constants |= {name.id: value for name in targets if isinstance(name, ast.Name)}
    return constants


def _source(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_SOURCE_BYTES)
    except OSError:
        return b""


def _readable(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
