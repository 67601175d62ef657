"""Stands between the package and the operating system: every call can be seen, and made to fail.

Threads that run meanwhile go through it as well. What C code calls on its own
is not seen, but for files that Python opened; `test_real_faults` fails those.
"""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import io
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

_OF_FOLDERS = ("getcwd", "listdir", "mkdir", "rmdir", "scandir")
_OF_NAMES = ("link", "readlink", "remove", "rename", "replace", "symlink", "unlink")
_OF_STATUS = ("access", "chmod", "fchmod", "fstat", "fstatvfs", "lstat", "stat", "statvfs", "utime")
_OF_BYTES = ("copy_file_range", "lseek", "pread", "pwrite", "read", "sendfile", "write")
_OF_LENGTH = ("ftruncate", "posix_fallocate", "truncate")
_OF_OS = ("open", "close", "fsync", "fdatasync", *_OF_FOLDERS, *_OF_NAMES, *_OF_STATUS, *_OF_BYTES)
_OF_FILES = ("read", "readinto", "readall", "write", "truncate", "close")
_CHANGING = {"mkdir", "rmdir", "write", "chmod", "fchmod", "utime", *_OF_LENGTH, *_OF_NAMES}
_HALVED = frozenset({"write", "pwrite"})


@dataclass(frozen=True)
class Call:
    """A call that is about to be made."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Any:
        """Make it."""
        return self.function(*self.arguments, **self.keywords)

    @property
    def gives_back(self) -> bool:
        """Whether it returns a descriptor or a lock."""
        return self.name == "close" or (self.name == "flock" and self.arguments[1] == fcntl.LOCK_UN)

    @property
    def changes(self) -> bool:
        """Whether it changes what is on the disk."""
        if self.name != "open":
            return self.name in _CHANGING
        how = self.arguments[1] if len(self.arguments) > 1 else "r"
        return bool(how & os.O_CREAT) if isinstance(how, int) else not set(how).isdisjoint("wxa+")

    def spoil(self) -> None:
        """Do what the kernel may have done before it reports that the call failed."""
        if self.name == "close":
            self.make()  # the descriptor is gone in any case
        elif self.name == "getdents":
            self.arguments[0].close()  # Python does so
        elif self.name in _HALVED:
            target, piece, *rest = self.arguments
            self.function(target, memoryview(piece).cast("B")[: len(piece) // 2], *rest)


Handler = Callable[[Call], Any]


class Fault:
    """Makes the call at a position fail, or that one and all that follow.

    Those that follow and only give something back do not fail: no disk is too
    full for that, and no limit too low.

    Attributes:
        struck: The name of the first call that failed, or empty.
    """

    def __init__(self, position: int, code: int, *, lasting: bool = False) -> None:
        self.struck = ""
        self._code = code
        self._lasting = lasting
        self._left = position
        self._turn = threading.Lock()

    def __call__(self, call: Call) -> Any:
        with self._turn:
            self._left -= 1
            goes_on = self._lasting and self._left < 0 and not call.gives_back
            strikes = self._left == 0 or goes_on
        if not strikes:
            return call.make()
        self.struck = self.struck or call.name
        call.spoil()
        raise OSError(self._code, os.strerror(self._code))


class Kill:
    """Kills this process at one of the calls that change something.

    With half of a write done, otherwise before the call: that is after the one before.
    """

    def __init__(self, position: int) -> None:
        self._left = position
        self._turn = threading.Lock()

    def __call__(self, call: Call) -> Any:
        with self._turn:
            self._left -= call.changes
            strikes = call.changes and self._left == 0
        if strikes:
            if call.name in _HALVED:
                call.spoil()
            os.kill(os.getpid(), signal.SIGKILL)
        return call.make()


@contextlib.contextmanager
def intercepted(handler: Handler) -> Iterator[None]:
    """Lead every call to the operating system through a handler, which may make it or not."""
    with contextlib.ExitStack() as stack:
        raw = _file_class(handler)
        for name in (*_OF_OS, *_OF_LENGTH):
            if (function := getattr(os, name, None)) is not None:
                caller = _caller(name, function, handler)
                if name == "scandir":
                    caller = _scanner(caller, handler)
                _replace(stack, os, name, caller)
        for name in ("flock", "lockf"):
            _replace(stack, fcntl, name, _caller(name, getattr(fcntl, name), handler))
        for module in (io, builtins):
            _replace(stack, module, "open", _opener(raw))
        for kind in io.FileIO.__subclasses__():
            if kind.__module__.startswith("pytest_compilecache."):
                _replace(stack, kind, "__bases__", (raw,))
        _replace_in_old_paths(stack)
        yield


def _replace(stack: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _replace_in_old_paths(stack: contextlib.ExitStack) -> None:
    # The paths of Python 3.10 took these functions when they were imported.
    accessor = getattr(pathlib, "_normal_accessor", None)
    for name in () if accessor is None else (*_OF_OS, "open"):
        if hasattr(accessor, name):
            _replace(stack, accessor, name, io.open if name == "open" else getattr(os, name))


def _caller(name: str, function: Callable[..., Any], handler: Handler) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return handler(Call(name, function, arguments, keywords))

    return call


def _file_class(handler: Handler) -> type[io.FileIO]:
    """A kind of file that asks the handler before each call."""

    class Intercepted(io.FileIO):
        def __init__(self, file: Any, mode: str = "r", closefd: bool = True, opener: Any = None):
            made = super().__init__
            if opener is None and not isinstance(file, int):
                handler(Call("open", made, (file, mode, closefd)))
            else:
                made(file, mode, closefd, opener)  # the opener calls os.open, which is seen

        def close(self) -> None:
            if self.closed or not self.closefd:
                super().close()
            else:
                handler(Call("close", io.FileIO.close, (self,)))

    for name in set(_OF_FILES) - {"close"}:
        setattr(Intercepted, name, _caller_of_method(name, handler))
    return Intercepted


def _caller_of_method(name: str, handler: Handler) -> Callable[..., Any]:
    method = getattr(io.FileIO, name)

    def call(file: io.FileIO, *arguments: Any) -> Any:
        return handler(Call(name, method, (file, *arguments)))

    return call


def _opener(raw_class: type[io.FileIO]) -> Callable[..., Any]:
    """`open`, for files that are asked about; C's would read and write behind our back."""

    def open_(
        file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None,
        errors: str | None = None, newline: str | None = None, closefd: bool = True,
        opener: Any = None,
    ) -> Any:  # fmt: skip
        raw = raw_class(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        if "+" in mode:
            buffered: Any = io.BufferedRandom(raw)
        else:
            buffered = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    return open_


def _scanner(scandir: Callable[..., Any], handler: Handler) -> Callable[..., Any]:
    return lambda *folder: _Scan(scandir(*folder), handler)


class _Scan:
    """What `os.scandir` returns, which asks before the folder is read."""

    def __init__(self, entries: Any, handler: Handler) -> None:
        self._entries = entries
        self._handler = handler
        self._read = False

    def __iter__(self) -> _Scan:
        return self

    def __next__(self) -> _Entry:
        # One call of the kernel returns many entries, so only the first one asks.
        read, self._read = self._read, True
        call = Call("getdents", next, (self._entries,))
        return _Entry(call.make() if read else self._handler(call), self._handler)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries.close()


class _Entry:
    """An entry of a folder, which asks before it is looked up."""

    def __init__(self, entry: os.DirEntry[str], handler: Handler) -> None:
        self._entry = entry
        self._handler = handler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entry, name)

    def __fspath__(self) -> str:
        return self._entry.path

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        keywords = {"follow_symlinks": follow_symlinks}
        return self._handler(Call("stat", self._entry.stat, (), keywords))
