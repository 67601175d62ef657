"""The sessions in which the corpus is run, and what each of their runs showed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.machine import Machine, Run

CORPUS = Path(__file__).with_name("corpus")
DRIVE = Path(__file__).with_name("drive.py")
# Nothing of other plugins that may be installed shuffles or keeps anything.
ALWAYS = ("-p", "no:cacheprovider", "-p", "no:randomly")
WITHOUT = "without"
COLD = "cold"
WARM = "warm"


@dataclass(frozen=True)
class Session:
    """Suites that are run one after another in one process.

    Attributes:
        parts: For each pytest session in the process, the folder in the corpus and the arguments.
        variables: Set before Python starts.
        store: Whether the plugin is given a store.
    """

    name: str
    parts: tuple[tuple[str, ...], ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    store: bool = False


SESSIONS = (
    Session("dynamo", (("dynamo",),)),
    Session("inductor", (("inductor",),)),
    Session(
        "one_after_another",
        (("nested",), ("session_limit",), ("reversed_order",), ("warnings_as_errors",)),
    ),
    Session("twice", (("twice",), ("twice",)), variables={"DIFFERENTIAL_PRELOAD": "1"}),
    Session("deleted_cache", (("deleted_cache",),), store=True),
    Session("cache_directory", (("cache_directory",),)),
    Session("machine_variables", (("machine_variables",),)),
    Session("workers", (("workers", "-n", "2"),)),
    Session("compile_disabled", (("compile_disabled",),)),
    Session("collected_only", (("collected_only", "--collect-only"),)),
    Session(
        "without_torch",
        (
            ("without_torch",),
            ("environment_snapshots",),
            ("clashing_marks",),
            ("clashing_fixtures",),
            ("clashing_options", "--compiled", "--compiled-fallback=mine"),
            ("collection_errors",),
            ("collection_errors", "--continue-on-collection-errors"),
            ("stops_early",),
            ("stops_early", "-x"),
            ("stops_early", "--maxfail=2"),
            ("exits",),
            ("interrupted",),
            ("nothing_collected",),
        ),
    ),
)


@dataclass(frozen=True)
class Runs:
    """What the three runs of a session showed."""

    session: Session
    shown: Mapping[str, Mapping[str, Any]]
    printed: Mapping[str, str]
    seconds: Mapping[str, float]


def run_three_times(session: Session, root: Path) -> Runs:
    """Without the plugin, with it, and with it once more on the same machine."""
    machine = Machine(root / "machine")
    # One process of two cores compiles: torch's pool of compile workers costs more than it gives.
    machine.variables.update(
        {"TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONHASHSEED": "0", **session.variables}
    )
    if session.store:  # not as an option, which the run without the plugin would not know
        machine.variables["COMPILECACHE_STORE"] = str(root / "store")
    project = root / "project"
    for folder, *_ in session.parts:
        if not (project / folder).exists():
            shutil.copytree(CORPUS / folder, project / folder)
            ini = project / folder / "pytest.ini"
            ini.write_text(ini.read_text() if ini.exists() else "[pytest]\n")
    shown: dict[str, Any] = {}
    printed: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for run in (WITHOUT, COLD, WARM):
        if run == WARM:  # what the plugin keeps is below the home folder
            shutil.rmtree(machine.tmp)
            machine.tmp.mkdir()
        else:
            machine.start_over()
        arguments = [_arguments(part, project) for part in session.parts]
        shown[run], done, seconds[run] = run_drive(machine, arguments, root, run, project)
        printed[run] = done.out
    return Runs(session, shown, printed, seconds)


def run_drive(
    machine: Machine, sessions: list[list[str]], root: Path, run: str, cwd: Path
) -> tuple[dict[str, Any], Run, float]:
    """Run pytest sessions in one process that looks at itself; returns what it saw, and seconds."""
    result = root / f"{run}.json"
    places = {
        str(machine.home): "~",
        str(machine.tmp): "$TMPDIR",
        str(root): "$ROOT",
        sys.prefix: "$PREFIX",
    }
    # Not an argument: it has to reach the sessions within a session as well.
    off = {"PYTEST_ADDOPTS": "-p no:compilecache"} if run == WITHOUT else {}
    words = (str(DRIVE), str(result), json.dumps(sessions), json.dumps(places))
    begin = time.perf_counter()
    done = machine.run(sys.executable, *words, cwd=cwd, env=off)
    seconds = time.perf_counter() - begin
    assert result.exists(), f"{run}: no result, exit {done.code}:\n{done.out}"
    return json.loads(result.read_text()), done, seconds


def _arguments(part: tuple[str, ...], project: Path) -> list[str]:
    name, *own = part
    folder = project / name
    return [str(folder), f"--rootdir={folder}", "-c", str(folder / "pytest.ini"), *ALWAYS, *own]
