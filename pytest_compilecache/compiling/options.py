"""How to compile: plain data, checked when it is made. It never imports torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pytest_compilecache.errors import CompileOptionError

# Those of torch.nn.attention.SDPBackend that a user can choose.
SDPA_KERNELS = ("cudnn", "efficient", "flash", "math")
_SWITCHES = ("fullgraph", "regional", "channels_last", "ipex", "enabled")


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """How to compile: the arguments of ``torch.compile``, and what goes with them.

    Attributes:
        mode: Inductor's mode, such as ``"reduce-overhead"`` or ``"max-autotune"``.
        fullgraph: Whether a graph break is an error.
        dynamic: Whether sizes are dynamic: always, never, or when they vary (``None``).
        backend: A backend's name or the backend.
        options: Inductor's options.
        regional: Whether to compile the repeated blocks of a model, once for all of
            them, and run the rest eager. Deep models then start sooner.
        channels_last: Whether images and kernels lie in memory channels last, for
            models with convolutions. It changes the layout, not the values, of the
            model's own parameters.
        sdpa: Which attention kernels may be used: one or more of ``"math"``,
            ``"flash"``, ``"efficient"``, ``"cudnn"``; ``None`` leaves it to torch. With
            ``"math"`` Inductor generates attention itself.
        ipex: Whether ``intel_extension_for_pytorch.optimize`` takes the place of
            ``torch.compile``, where that package is installed.
        enabled: Whether to compile at all; otherwise the model runs eager.

    Raises:
        CompileOptionError: A value cannot be used, or contradicts another; a ValueError.
    """

    mode: str | None = None
    fullgraph: bool = False
    dynamic: bool | None = None
    backend: str | Callable[..., Any] = "inductor"
    options: Mapping[str, Any] | None = None
    regional: bool = False
    channels_last: bool = False
    sdpa: str | tuple[str, ...] | None = None
    ipex: bool = False
    enabled: bool = True

    def __post_init__(self) -> None:
        _check_types(self)
        # One order and no repetition: equal choices give equal options, and equal cache keys.
        object.__setattr__(self, "sdpa", _sdpa_kernels(self.sdpa))
        if self.mode and self.options:
            raise CompileOptionError(
                "mode and options",
                "torch.compile takes either mode or options, not both",
                "put the mode's settings into options",
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str = "options") -> CompileOptions:
        """Options by their names.

        Args:
            values: The options that differ from the default.
            origin: Where they come from, for messages.

        Raises:
            CompileOptionError: An option is unknown or its value cannot be used.
        """
        known = [item.name for item in fields(cls)]
        for name in values:
            if name not in known:
                remedy = f"use {', '.join(known)}"
                raise CompileOptionError(f"{origin}: {name}", "there is no such option", remedy)
        try:
            return cls(**values)
        except CompileOptionError as error:
            raise CompileOptionError(
                f"{origin}: {error.subject}", error.reason, error.remedy
            ) from None

    @classmethod
    def from_pyproject(cls, path: str | Path | None = None) -> CompileOptions:
        """The options in the table ``[tool.compilecache.compile]`` of a pyproject.toml.

        Args:
            path: The file, or its folder. Without one, the nearest at or above the
                current folder.

        Returns:
            The options; the defaults where the file has no such table.

        Raises:
            CompileOptionError: The file cannot be read, or an option cannot be used.
        """
        from pytest_compilecache.compiling.pyproject import compile_table  # noqa: PLC0415

        values, origin = compile_table(None if path is None else Path(path))
        return cls.from_mapping(values, origin)

    @classmethod
    def from_torchserve(cls, config: Mapping[str, Any] | str | Path) -> CompileOptions:
        """The options with which TorchServe compiles a model.

        What its server only logs before it runs the model eager is a
        ``CompileOptionWarning`` here; what keeps it from starting is an error.

        Args:
            config: A model config (the whole, with the key ``pt2``) or the path of
                its model-config.yaml, for which PyYAML must be installed.

        Raises:
            CompileOptionError: The config cannot be read, or no server starts with it.
            MissingPackageError: PyYAML is not installed.
        """
        from pytest_compilecache.compiling.torchserve import read_config  # noqa: PLC0415

        options, notes = read_config(config)
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return options


def _check_types(options: CompileOptions) -> None:
    for name in _SWITCHES:
        _check(name, getattr(options, name), bool, "use True or False")
    _check("mode", options.mode, (str, type(None)), 'use a name such as "reduce-overhead"')
    _check("dynamic", options.dynamic, (bool, type(None)), "use True, False or None")
    _check("options", options.options, (Mapping, type(None)), "use a dict of Inductor's options")
    backend: object = options.backend
    if not (isinstance(backend, str) or callable(backend)):
        reason = f"{backend!r} is neither a name nor callable"
        raise CompileOptionError("backend", reason, "name one of torch.compiler.list_backends()")


def _check(name: str, value: object, types: type | tuple[type, ...], remedy: str) -> None:
    if not isinstance(value, types):
        raise CompileOptionError(name, f"{value!r} has a wrong type", remedy)


def _sdpa_kernels(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else value
    known = f"use one or more of {', '.join(SDPA_KERNELS)}"
    if not isinstance(names, (tuple, list)) or not names:
        raise CompileOptionError("sdpa", f"{value!r} names no attention kernel", known)
    for name in names:
        if name not in SDPA_KERNELS:
            raise CompileOptionError("sdpa", f"{name!r} is no attention kernel", known)
    return tuple(sorted(set(names)))
