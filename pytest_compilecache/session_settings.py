"""The settings of a test session: layers of raw values, laid over the defaults in order.

It never reads a file. Each value is checked here, and keeps where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from pytest_compilecache.limits import DAY, MIB, Limits
from pytest_compilecache.settings import (
    BY_NAME,
    SESSION_SETTINGS,
    FallbackMode,
    Isolation,
    RunMode,
    SavePolicy,
    Setting,
    Source,
)


class Layer(NamedTuple):
    """Raw values from one place.

    Attributes:
        kind: By which of its names a setting stands there.
        origin: How a person knows the place; of variables, each one's name.
        values: Raw values by setting; None means that the place does not have it.
        base: The folder that relative paths in this place are relative to.
    """

    kind: Literal["ini", "variable", "option"]
    origin: str
    values: Mapping[str, object]
    base: Path

    def source(self, setting: Setting) -> Source:
        """Where a value of this layer was found."""
        if self.kind == "variable":
            return Source(setting.variable, self.base)
        name = setting.ini if self.kind == "ini" else setting.flag
        return Source(f"{name} ({self.origin})", self.base)


def variables_layer(environ: Mapping[str, str], base: Path) -> Layer:
    """The layer of the ``COMPILECACHE_*`` variables of test sessions."""
    values = {each.name: environ.get(each.variable) for each in SESSION_SETTINGS}
    return Layer("variable", "", values, base)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is in force in a test session; the table says what each value means.

    Attributes:
        origins: Where each setting that is not a default came from.
    """

    store: str | None
    save: SavePolicy
    dir: Path | None
    strict: bool
    report: Path | None
    run: RunMode
    fallback: FallbackMode | None
    isolation: Isolation
    compiler_seconds: int
    max_store_mb: int | None
    max_workspace_mb: int
    keep_days: int
    origins: Mapping[str, str]

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
        values = {each.name: each.default for each in SESSION_SETTINGS}
        origins: dict[str, str] = {}
        for layer in layers:
            for name, raw in layer.values.items():
                if raw is None:
                    continue
                setting = BY_NAME[name]
                if raw == "":  # takes back what an earlier layer says
                    values[name] = setting.default
                    origins.pop(name, None)
                    continue
                values[name] = setting.kind.parse(raw, layer.source(setting))
                origins[name] = layer.origin or setting.variable
        return cls(**values, origins=MappingProxyType(origins))
