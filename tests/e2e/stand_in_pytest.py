"""Stands where pytest does in the recipes of CI systems: one test of its shard "compiles" a file.

What recipes carry from job to job is a store and a report; whether torch made what lies in
them, they cannot know. One recipe is run with pytest and torch all the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pytest_compilecache.cache import CacheResult, OperationStatus, restore
from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
from pytest_compilecache.limits import DEFAULT_LIMITS
from pytest_compilecache.report.figures import SessionFigures
from pytest_compilecache.report.files import Report, write_report
from pytest_compilecache.report.terminal import Outcome
from pytest_compilecache.workspace.place import Workspace
from tests.e2e.command import ENVIRONMENT, fill


def main() -> None:
    """Restore, compile what is missing, save, and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--compilecache-report", type=Path)
    parser.add_argument("--splits")
    parser.add_argument("--group")
    given = parser.parse_args()
    store, here = os.environ["COMPILECACHE_STORE"], Path(os.environ["TMPDIR"], "workspace")
    workspace = Workspace(here, here / "inductor", here / "headers")
    workspace.prepare(ENVIRONMENT.id)
    restore(workspace, ENVIRONMENT, store, DEFAULT_LIMITS)
    name = f"kernel{given.group}.h"
    saved = None
    if (workspace.inductor / "ab" / name).exists():
        record = CompileRecord((CompileEvent("hit"),), graphs=1)
        text = "compilecache: warm: 1 compiled test, 1 hit, 0 builds"
    else:
        fill(Path(store), here / "new", name)
        record = CompileRecord((CompileEvent("miss"),), graphs=1, built=(name,))
        saved = CacheResult(OperationStatus.SUCCESS, files=1, packs=1)
        text = "1 of 1 compiled test cold, 1 miss\nsaved 1 file"
    sys.stdout.write(f"{text}\n")
    if given.compilecache_report:
        given.compilecache_report.parent.mkdir(parents=True, exist_ok=True)
        figures = SessionFigures({f"test_a.py::test_{given.group}": record})
        report = Report(figures, Outcome(saved=saved, store=store), ())
        write_report(given.compilecache_report, report)


if __name__ == "__main__":
    main()
