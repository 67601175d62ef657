"""The settings, frozen and made once. It says where each value came from and never reads a file.

Layers of raw values (the project's configuration, environment variables, the
command line) are laid over the defaults in order; every value is checked here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.limits import DAY, MIB, Limits

SavePolicy = Literal["auto", "always", "never"]
SAVE_POLICIES: tuple[SavePolicy, ...] = ("auto", "always", "never")
FallbackMode = Literal["eager", "fail", "skip", "xfail"]
Isolation = Literal["none", "limit", "test"]
ISOLATIONS: tuple[Isolation, ...] = ("none", "limit", "test")
FALLBACK_MODES: tuple[FallbackMode, ...] = ("eager", "fail", "skip", "xfail")
CompiledWay = Literal["compiled", "eager", "both"]
COMPILED_WAYS: tuple[CompiledWay, ...] = ("compiled", "eager", "both")
REPORT_SUFFIXES = (".json", ".md")
ENVIRONMENT_PREFIX = "COMPILECACHE_"

_MAX_COUNT = 1_000_000_000
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


@dataclass(frozen=True, slots=True)
class Layer:
    """Raw values from one place.

    Attributes:
        origin: How a person knows the place, such as ``command line``.
        values: Raw values by setting; ``None`` means that the place says nothing.
        base: The folder that relative paths in this place are relative to.
    """

    origin: str
    values: Mapping[str, object]
    base: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force.

    Attributes:
        store: Where packs are kept: a folder or a URL. Without one, only the workspace is used.
        save: Whether new artifacts are saved to the store at the end of a session; ``auto``
            does not save in builds of strangers' code, or where that cannot be told.
        dir: The folder of the workspaces; by default one in the user's cache folder.
        strict: Whether trouble in the cache fails the session.
        report: A file that the session's report is written to, in the form of its suffix:
            ``.md`` for people, ``.json`` for programs.
        compiled: Whether marked tests run compiled (``on``), eager (``off``; so does every
            ``torch.compile``), or as two items (``both``).
        fallback: What a failure to compile means in a test whose mark does not say: it runs
            eager with a warning, fails, is skipped, or is expected to fail.
        max_store_mb: MiB that the store may take, at any instant; by default there is no bound.
        max_workspace_mb: MiB that a live cache is brought down to when no session uses it.
        keep_days: Days after which what no session used is deleted.
        compiler_seconds: Seconds after which a C++ compiler counts as one that hangs, and what
            it compiles runs eager.
        origins: Where each setting that is not a default came from.
    """

    store: str | None = None
    save: SavePolicy = "auto"
    dir: Path | None = None
    strict: bool = False
    report: Path | None = None
    run: CompiledWay = "compiled"
    fallback: FallbackMode | None = None
    isolation: Isolation = "none"
    max_store_mb: int | None = None
    max_workspace_mb: int = 10_240
    keep_days: int = 30
    compiler_seconds: int = 300
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def limits(self) -> Limits:
        """What a store and a workspace may take."""
        return Limits(
            store_bytes=None if self.max_store_mb is None else self.max_store_mb * MIB,
            workspace_bytes=self.max_workspace_mb * MIB,
            keep_seconds=self.keep_days * DAY,
        )

    @classmethod
    def resolve(cls, *layers: Layer) -> Settings:
        """Lay the layers over the defaults, the later over the earlier.

        Raises:
            SettingsError: A value cannot be used; it names the setting and its origin.
        """
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for layer in layers:
            for name, raw in layer.values.items():
                if raw is None:
                    continue
                if raw == "":  # takes back what an earlier layer says
                    values.pop(name, None)
                    origins.pop(name, None)
                    continue
                values[name] = _PARSERS[name](raw, layer, name)
                origins[name] = layer.origin
        return cls(**values, origins=MappingProxyType(origins))


def setting_names() -> tuple[str, ...]:
    """The names of all settings, in the order in which they are shown."""
    return tuple(item.name for item in fields(Settings) if item.name != "origins")


def environment_layer(environ: Mapping[str, str], base: Path) -> Layer:
    """The layer of ``COMPILECACHE_*`` variables."""
    values = {name: environ.get(ENVIRONMENT_PREFIX + name.upper()) for name in setting_names()}
    return Layer("environment variable", values, base)


def _parse_store(raw: object, layer: Layer, name: str) -> str:
    text = _text(raw, layer, name)
    if "://" in text:
        return text
    return str(_path(text, layer, name))


def _parse_choice(*choices: str) -> Callable[[object, Layer, str], str]:
    def parse(raw: object, layer: Layer, name: str) -> str:
        # In TOML, and to a hurried person, on and off are booleans.
        text = "on" if raw is True else "off" if raw is False else _text(raw, layer, name).lower()
        if text in choices:
            return text
        raise _bad(layer, name, raw, f"use one of {', '.join(choices)}")

    return parse


def _parse_dir(raw: object, layer: Layer, name: str) -> Path:
    return _path(_text(raw, layer, name), layer, name)


def _parse_report(raw: object, layer: Layer, name: str) -> Path:
    path = _path(_text(raw, layer, name), layer, name)
    if path.suffix.lower() not in REPORT_SUFFIXES:
        raise _bad(layer, name, raw, f"let it end with one of {', '.join(REPORT_SUFFIXES)}")
    return path


def _path(text: str, layer: Layer, name: str) -> Path:
    try:
        return Path(os.path.normpath(layer.base / Path(text).expanduser()))
    except RuntimeError:
        raise _bad(layer, name, text, "there is no such user; write the path out") from None


def _parse_switch(raw: object, layer: Layer, name: str) -> bool:
    if isinstance(raw, bool):
        return raw
    text = _text(raw, layer, name).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise _bad(layer, name, raw, "use true or false")


def _parse_count(raw: object, layer: Layer, name: str) -> int:
    text = _text(raw, layer, name)
    if text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_COUNT:
        return int(text)
    raise _bad(layer, name, raw, f"use a whole number from 1 to {_MAX_COUNT:,}")


def _text(raw: object, layer: Layer, name: str) -> str:
    if not isinstance(raw, (str, int, os.PathLike)):
        raise _bad(layer, name, raw, "give one value")
    text = str(raw).strip()
    if "\0" in text or "\n" in text:
        raise _bad(layer, name, raw, "write it on one line")
    return text


def _bad(layer: Layer, name: str, raw: object, remedy: str) -> SettingsError:
    subject = ENVIRONMENT_PREFIX + name.upper()
    if layer.origin != "environment variable":
        subject = f"compilecache {name} ({layer.origin})"
    return SettingsError(subject, f"{raw!r} cannot be used", remedy)


_PARSERS: Mapping[str, Callable[[object, Layer, str], Any]] = {
    "store": _parse_store,
    "save": _parse_choice(*SAVE_POLICIES),
    "dir": _parse_dir,
    "strict": _parse_switch,
    "report": _parse_report,
    "max_store_mb": _parse_count,
    "max_workspace_mb": _parse_count,
    "keep_days": _parse_count,
    "compiler_seconds": _parse_count,
    "fallback": _parse_choice(*FALLBACK_MODES),
    "run": _parse_choice(*COMPILED_WAYS),
    "isolation": _parse_choice(*ISOLATIONS),
}
