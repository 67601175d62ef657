"""The C++ compiler that Inductor runs."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pytest_compilecache.patches import Patches
from pytest_compilecache.torchhooks.names import CPP_BUILDER, loaded

_INDUCTOR_EXC = "torch._inductor.exc"


class _Bounded:
    """The module ``subprocess``, of which no call lasts for ever."""

    def __init__(self, seconds: Callable[[Sequence[object]], float]) -> None:
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        found = getattr(subprocess, name)
        if name not in {"run", "check_output", "check_call"}:
            return found

        @functools.wraps(found)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            command = args[0] if args else kwargs.get("args", ())  # torch 2.7 names it
            words = [command] if isinstance(command, (str, bytes)) else list(command)
            kwargs.setdefault("timeout", self._seconds(words))
            return found(*args, **kwargs)

        return bounded


def bound_compilers(patches: Patches, seconds: Callable[[Sequence[object]], float]) -> bool:
    """Let no C++ compiler that Inductor starts run for ever: Inductor would wait.

    Args:
        patches: Undoes it.
        seconds: How long a command may run before ``subprocess`` kills it.

    Returns:
        Whether it holds. A test that replaced ``subprocess`` there keeps what it put.
    """
    module = sys.modules.get(CPP_BUILDER)
    if getattr(module, "subprocess", None) is not subprocess:
        return False
    return patches.wrap(module, "subprocess", lambda _: _Bounded(seconds))


def cpp_compiler() -> str:
    """The C++ compiler that Inductor would run."""
    names = getattr(getattr(sys.modules.get("torch._inductor.config"), "cpp", None), "cxx", None)
    named = [name for name in names or () if name]
    return str(named[0]) if named else os.environ.get("CXX", "g++")


def compiler_output(error: BaseException) -> str:
    """What the C++ compiler said, without the command that torch puts before it, or empty."""
    failed = loaded(_INDUCTOR_EXC, "CppCompileError")
    if failed is None or not isinstance(error, failed):
        return ""
    return str(error).partition("\nOutput:\n")[2].strip()


def is_compiler_failure(error: BaseException) -> bool:
    """Whether the C++ compiler failed, is missing or does not answer."""
    names = ("InvalidCxxCompiler", "CppCompileError")
    ours = tuple(each for name in names if (each := loaded(_INDUCTOR_EXC, name)) is not None)
    return isinstance(error, (*ours, subprocess.SubprocessError, FileNotFoundError))
