"""Where the workspaces and the store are, and what they take. It changes and makes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_compilecache.cli.places import Chosen
from pytest_compilecache.deployment import INDUCTOR
from pytest_compilecache.environment import Environment, detect_environment
from pytest_compilecache.errors import StoreError
from pytest_compilecache.settings import Settings
from pytest_compilecache.store import folder_of, open_store
from pytest_compilecache.store.listing import list_readable, packs_in
from pytest_compilecache.supervising.keeping import UNGUARDED
from pytest_compilecache.workspace.foreign import places_of_child, places_of_neighbour
from pytest_compilecache.workspace.place import Workspace, choose_workspace, default_root
from pytest_compilecache.workspace.scan import scan


@dataclass(frozen=True, slots=True)
class SurveyedStore:
    """A store, and what it takes.

    Attributes:
        place: Where it is.
        exists: Whether it is there.
        files: Its packs.
        bytes: Their bytes.
        trouble: Why it, or what is missing in these numbers, could not be read; or empty.
    """

    place: str
    exists: bool
    files: int = 0
    bytes: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class SurveyedWorkspace:
    """A workspace, and what it takes.

    Attributes:
        place: What ``TORCHINDUCTOR_CACHE_DIR`` names there.
        exists: Whether it is there.
        files: The artifacts in all of its folders.
        bytes: Their bytes.
        trouble: Why it could not be read, or empty.
        folders: Its folders, by their names in a pack.
    """

    place: str
    exists: bool
    files: int = 0
    bytes: int = 0
    trouble: str = ""
    folders: Mapping[str, str] = field(default_factory=dict)


def workspaces(
    environment: Environment, environ: Mapping[str, str], tests: Settings, chosen: Chosen
) -> dict[str, SurveyedWorkspace]:
    """The workspaces by who uses them.

    Args:
        environment: That of tests and servers; commands have one of their own.
        environ: The user's variables.
        tests: The settings of tests.
        chosen: Those of servers.
    """
    named = environ.get(INDUCTOR) or None
    root = chosen.deployment.work / f"compilecache-{os.getuid()}"
    inductor = chosen.deployment.inductor
    commands = detect_environment(environ, extra=UNGUARDED).id
    found = {
        "tests": choose_workspace(tests.dir or default_root(), environment.id, named),
        "servers": choose_workspace(root, environment.id, str(inductor) if inductor else None),
        "run": places_of_child(root, commands, environ),
        "watch": places_of_neighbour(root, commands, environ),
    }
    return {who: _survey(workspace) for who, workspace in found.items()}


def survey_store(place: str) -> SurveyedStore:
    """What a store takes.

    Raises:
        SettingsError: No store can be there.
    """
    if not folder_of(place).is_dir():
        return SurveyedStore(place, exists=False)
    try:
        readable = list_readable(open_store(place))
    except StoreError as error:
        return SurveyedStore(place, exists=True, trouble=str(error))
    sizes = [each.size for each, _ in packs_in(readable.objects)]
    trouble = "; ".join(readable.troubles)
    return SurveyedStore(place, exists=True, files=len(sizes), bytes=sum(sizes), trouble=trouble)


def _survey(workspace: Workspace) -> SurveyedWorkspace:
    folders = {name: str(folder) for name, folder in workspace.areas()}
    place = str(workspace.inductor)
    # As one user of a machine may not look into another's.
    exists = any(os.path.isdir(folder) for folder in folders.values())  # noqa: PTH112
    try:
        files = scan(workspace).values()
    except OSError as error:
        return SurveyedWorkspace(place, exists, trouble=str(error), folders=folders)
    size = sum(file.size for file in files)
    return SurveyedWorkspace(place, exists, len(files), size, folders=folders)
