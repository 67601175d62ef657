"""Reads TorchServe's model-config.yaml as its base handler does, down to what it ignores.

It never decides otherwise than the server: a config with which the server runs the
model eager gives options with which the model runs eager, and a warning that says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.errors import (
    CompileOptionDeprecationWarning,
    CompileOptionError,
    CompileOptionWarning,
    MissingPackageError,
)

# Its base handler compiles with no other backend, whatever torch knows.
BACKENDS = (
    "eager",
    "aot_eager",
    "inductor",
    "nvfuser",
    "aot_nvfuser",
    "aot_cudagraphs",
    "ofi",
    "fx2trt",
    "onnxrt",
    "ipex",
    "torchxla_trace_once",
    "openvino",
    "tensorrt",
    "hpu_backend",
)
_ARGUMENTS = ("fullgraph", "dynamic", "backend", "mode", "options", "disable")
_REMEDY = "write pt2: {compile: {enable: true}}"


Reading = tuple[CompileOptions, list[CompileOptionWarning]]


def read_config(config: Mapping[str, Any] | str | Path) -> Reading:
    """The options with which TorchServe compiles a model, and what is to be known about them.

    Args:
        config: A model config (the whole, with the key ``pt2``) or the path of its file.

    Raises:
        CompileOptionError: The config cannot be read, or no server starts with it.
        MissingPackageError: PyYAML is not installed.
    """
    whole = config if isinstance(config, Mapping) else _load(Path(config))
    options, notes = _read(whole)
    # The server asks for IPEX only where it does not compile.
    if not options.enabled and os.environ.get("TS_IPEX_ENABLE", "false") == "true":
        return replace(options, ipex=True), notes
    return options, notes


def _read(config: Mapping[str, Any]) -> Reading:
    if "pt2" not in config:
        return _eager("pt2", "the config has no such key", _REMEDY)
    section = config["pt2"]
    if not isinstance(section, (str, Mapping)):
        raise _unusable("pt2", f"{section!r} is neither a name nor a mapping")
    if "compile" in section:  # in a name as well: the server asks no further
        return _current_form(section["compile"] if isinstance(section, Mapping) else section)
    if "export" in section:
        reason = "the server loads a library that was compiled ahead of time"
        return _eager("pt2: export", reason, "test that library; nothing is compiled here")
    return _older_form({"backend": section} if isinstance(section, str) else section)


def _current_form(section: object) -> Reading:
    """``pt2: {compile: {enable: true, backend: …}}``."""
    if not isinstance(section, Mapping):
        raise _unusable("pt2: compile", f"{section!r} is no mapping")
    if "enable" not in section:
        raise _unusable("pt2: compile", "'enable' is missing")
    enable = section["enable"]
    if enable not in (True, False):
        # So does TorchServe 0.12, the last release; its sources since take any such value for true.
        return _eager("pt2: compile: enable", f"{enable!r} is no switch", "write true or false")
    if not enable:
        return CompileOptions(enabled=False), []
    arguments = {name: value for name, value in section.items() if name != "enable"}
    return _compiled_with(arguments, "pt2: compile")


def _older_form(section: Mapping[str, Any]) -> Reading:
    """``pt2: inductor`` or ``pt2: {backend: inductor, mode: …}``."""
    text = f"pt2: TorchServe deprecates this form ({_REMEDY}, with other options beside enable)"
    options, notes = _compiled_with(section, "pt2")
    return options, [CompileOptionDeprecationWarning(text), *notes]


def _compiled_with(arguments: Mapping[str, Any], where: str) -> Reading:
    """What the server hands to ``torch.compile``; where that refuses, it serves on."""
    backend = arguments.get("backend", "inductor")
    if backend not in BACKENDS:
        reason = f"TorchServe knows no backend {backend!r}"
        return _eager(f"{where}: backend", reason, f"it knows {', '.join(BACKENDS)}")
    for name in arguments:
        if name not in _ARGUMENTS:
            reason = "torch.compile has no such argument"
            return _eager(f"{where}: {name}", reason, f"it has {', '.join(_ARGUMENTS)}")
    if arguments.get("mode") is not None and arguments.get("options") is not None:
        reason = "torch.compile takes either mode or options, not both"
        return _eager(where, reason, "put the mode's settings into options")
    known = {name: value for name, value in arguments.items() if name != "disable"}
    options = CompileOptions.from_mapping(known, where)
    return replace(options, enabled=not arguments.get("disable", False)), []


def _eager(subject: str, reason: str, remedy: str) -> Reading:
    text = f"{subject}: {reason}, so the server runs the model eager ({remedy})"
    return CompileOptions(enabled=False), [CompileOptionWarning(text)]


def _unusable(subject: str, reason: str) -> CompileOptionError:
    return CompileOptionError(subject, f"{reason}, and no server starts with it", _REMEDY)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        import yaml  # noqa: PLC0415
    except ImportError as error:
        remedy = "pip install pytest-compilecache[torchserve], or give a mapping"
        raise MissingPackageError("PyYAML", f"{path} cannot be read without it", remedy) from error
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise CompileOptionError(str(path), str(error), "give a readable YAML file") from error
    if not isinstance(content, dict):
        raise CompileOptionError(str(path), "it holds no mapping", "give a model-config.yaml")
    return content
