"""pytest-compilecache: torch.compile test suites that start warm and tell the truth.

Importing it loads nothing else: what a name needs is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_compilecache.agreement import assert_matches_eager
    from pytest_compilecache.api import (
        load_compile_cache,
        load_compile_cache_result,
        save_compile_cache,
        save_compile_cache_result,
    )
    from pytest_compilecache.cache import CacheResult, OperationStatus
    from pytest_compilecache.compiling.compiler import compile_with_fallback
    from pytest_compilecache.compiling.options import CompileOptions
    from pytest_compilecache.errors import DisagreementError

__all__ = [
    "CacheResult",
    "CompileOptions",
    "DisagreementError",
    "OperationStatus",
    "assert_matches_eager",
    "compile_with_fallback",
    "load_compile_cache",
    "load_compile_cache_result",
    "save_compile_cache",
    "save_compile_cache_result",
]

_MODULES = {
    "CacheResult": "cache",
    "CompileOptions": "compiling.options",
    "compile_with_fallback": "compiling.compiler",
    "DisagreementError": "errors",
    "OperationStatus": "cache",
    "assert_matches_eager": "agreement",
    "load_compile_cache": "api",
    "load_compile_cache_result": "api",
    "save_compile_cache": "api",
    "save_compile_cache_result": "api",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
