"""The folders of commands that run without our protection in their process.

Their cache keys lack the vector instructions, so what they leave must never lie where
protected processes look, nor the reverse: they have an environment of their own, and
areas of other names. It never takes over a folder that it cannot tell who filled.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_compilecache.errors import WorkspaceError
from pytest_compilecache.places import check_way, claim
from pytest_compilecache.workspace.place import (
    Workspace,
    choose_workspace,
    torch_default,
    why_foreign,
)

HEADERS = "precompiled_headers"
INDUCTOR, VLLM = "TORCHINDUCTOR_CACHE_DIR", "VLLM_CACHE_ROOT"
_COMPILED_BY_VLLM = "torch_compile_cache"


@dataclass(frozen=True, slots=True)
class ForeignWorkspace(Workspace):
    """The folders of one environment of commands.

    Attributes:
        vllm: What ``VLLM_CACHE_ROOT`` names.
        refused: The areas that are left alone, each with the reason.
    """

    vllm: Path = Path()
    refused: tuple[tuple[str, str], ...] = ()

    def areas(self) -> tuple[tuple[str, Path], ...]:
        """The folders whose files travel, each with its name in a pack."""
        refused = dict(self.refused)
        areas = (("unguarded", self.inductor), ("headers", self.headers), ("vllm", self.vllm))
        return tuple(area for area in areas if area[0] not in refused)

    def of_whole_folders(self) -> tuple[Path, ...]:
        """Those of vLLM, one for each model; not where others than commands of ours use them."""
        ours = self.vllm.is_relative_to(self.root)
        return (self.vllm / _COMPILED_BY_VLLM,) if ours else ()

    def stamped(self) -> tuple[Path, ...]:
        """The folders that say which environment made them."""
        return (*(folder for _, folder in self.areas()), self.state)


def choose_for_child(
    root: Path, environment_id: str, environ: Mapping[str, str]
) -> ForeignWorkspace:
    """The workspace of a command whose variables we set.

    Args:
        root: The folder of all workspaces.
        environment_id: The environment of the command.
        environ: The user's variables. The folders that they name are honoured.
    """
    places = places_of_child(root, environment_id, environ)
    areas = {"headers": places.headers, "vllm": places.vllm}
    if environ.get(INDUCTOR):  # it is followed, whatever lies in it
        areas["unguarded"] = _absolute(environ[INDUCTOR])
    return _without_refused(places, environment_id, areas)


def choose_for_neighbour(
    root: Path, environment_id: str, environ: Mapping[str, str]
) -> ForeignWorkspace:
    """The workspace of a command that somebody else starts, with these variables.

    Args:
        root: The folder of all workspaces.
        environment_id: The environment of the command.
        environ: The variables of the command.
    """
    places = places_of_neighbour(root, environment_id, environ)
    areas = {"unguarded": places.inductor, "headers": places.headers, "vllm": places.vllm}
    return _without_refused(places, environment_id, areas)


def _without_refused(
    places: ForeignWorkspace, environment_id: str, areas: Mapping[str, Path]
) -> ForeignWorkspace:
    refused = _refusals(environment_id, **areas)
    # What is refused is not even locked in: it may belong to another user.
    used = places.root / "inductor" if "unguarded" in dict(refused) else places.inductor
    return replace(places, inductor=used, refused=refused)


def places_of_child(
    root: Path, environment_id: str, environ: Mapping[str, str]
) -> ForeignWorkspace:
    """Where a command would work whose variables we set. It makes nothing and refuses nothing."""
    base = choose_workspace(root, environment_id, environ.get(INDUCTOR) or None)
    named = environ.get(VLLM)
    vllm = _absolute(named) if named else base.root / "vllm"
    headers = torch_default(environ) / HEADERS
    return ForeignWorkspace(base.root, base.inductor, headers, "", vllm)


def places_of_neighbour(
    root: Path, environment_id: str, environ: Mapping[str, str]
) -> ForeignWorkspace:
    """Where a command would work with these variables. It makes nothing and refuses nothing."""
    default = torch_default(environ)
    named = environ.get(INDUCTOR)
    inductor = _absolute(named) if named else default
    own = root / "v1" / environment_id
    return ForeignWorkspace(own, inductor, default / HEADERS, "", _vllm_default(environ))


def drop_entries(workspace: ForeignWorkspace) -> None:
    """Delete the entries that code was found by, with all that vLLM compiled.

    What they lead to may have been made for lower vector instructions than their next reader
    would take it for. Kernels are found by their text and their flags, and stay.
    """
    folders = {
        "unguarded": ("fxgraph", "aotautograd"),
        "vllm": (_COMPILED_BY_VLLM,),
    }
    for area, folder in workspace.areas():
        for name in folders.get(area, ()):
            shutil.rmtree(folder / name, ignore_errors=True)


def _vllm_default(environ: Mapping[str, str]) -> Path:
    named = environ.get(VLLM)
    caches = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _absolute(named) if named else _absolute(caches) / "vllm"


def _absolute(named: str) -> Path:
    return Path(os.path.abspath(Path(named).expanduser()))  # noqa: PTH100  (links stay links)


def _refusals(environment_id: str, **areas: Path) -> tuple[tuple[str, str], ...]:
    found = ((area, _why_refused(area, folder, environment_id)) for area, folder in areas.items())
    return tuple((area, reason) for area, reason in found if reason)


def _why_refused(area: str, folder: Path, environment_id: str) -> str:
    """Why a folder is left alone, or empty; where it is not there, it is made."""
    besides = frozenset({HEADERS}) if area == "unguarded" else frozenset()
    if area == "vllm" and not _has_entries(folder / _COMPILED_BY_VLLM):
        besides = _names_in(folder)
    try:
        check_way(folder)
        claim(folder)
    except WorkspaceError as error:
        return str(error)
    reason = why_foreign(folder, environment_id, besides=besides)
    remedy = "empty it once, so that it is known what made its files"
    return f"{folder}: it {reason} ({remedy})" if reason else ""


def _has_entries(folder: Path) -> bool:
    return bool(_names_in(folder))


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return frozenset()
