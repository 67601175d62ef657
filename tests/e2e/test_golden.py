"""What each command prints for a program, whole, in good cases and bad ones; and its help."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble
from pytest_compilecache.cli.application import COMMANDS, USAGE, application
from pytest_compilecache.compiling.events import CompileEvent, CompileRecord
from pytest_compilecache.report.figures import SessionFigures
from pytest_compilecache.report.files import Report, write_report
from pytest_compilecache.report.terminal import Outcome
from tests.e2e.command import ENVIRONMENT, Command, damage, fill, without_torch
from tests.e2e.golden import FOLDER, compare, compare_text, golden

CI = Path(__file__).parents[2] / "docs" / "ci.md"
KERNEL = 'mkdir "$TORCHINDUCTOR_CACHE_DIR/ab"; echo x > "$TORCHINDUCTOR_CACHE_DIR/ab/kernel.h"'


class Scene:
    """A machine and a store, to be made what a case needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.command = Command(root)
        self.store = root / "store"

    def untouched(self) -> None:
        """Nothing has happened yet."""

    def compiled(self) -> Path:
        """A server left an artifact in its workspace, as torch would."""
        self.command("load", "--store", self.root / "nowhere")
        place = self.command.json("info")["workspace_of_servers"]["place"]
        kernel = Path(place, "ab", "kernel.h")
        kernel.parent.mkdir()
        kernel.write_bytes(b"kernel" * 100)
        return kernel

    def saved(self) -> Path:
        """It is saved as well."""
        kernel = self.compiled()
        self.command("save", "--store", self.store)
        return kernel

    def wiped(self) -> None:
        """It is saved, and the workspace lacks it."""
        self.saved().unlink()

    def wiped_and_damaged(self) -> None:
        """The pack is damaged besides."""
        self.wiped()
        damage(self.store)

    def served(self) -> None:
        """A command under ``run`` compiled, and its workspace was wiped since."""
        self.command("run", "--store", self.store, "--", "sh", "-c", KERNEL)
        for kernel in self.command.work.rglob("kernel.h"):
            kernel.unlink()

    def of_others(self) -> None:
        """The store holds another environment's."""
        fill(self.store, self.root / "w", "a.h", "b.h")

    def damaged(self) -> None:
        """Its only pack is damaged."""
        self.of_others()
        damage(self.store)

    def linked(self) -> None:
        """A link leads out of the store."""
        self.of_others()
        (packs,) = self.store.rglob("packs")
        packs.rename(self.root / "packs")
        packs.symlink_to(self.root / "packs")

    def reported(self) -> None:
        """Two shards left reports: one was warm, and one compiled."""
        hit = CompileRecord((CompileEvent("hit", 2),), graphs=2, seconds=0.5, seconds_saved=3.0)
        cold = CompileRecord((CompileEvent("miss"),), graphs=1, seconds=4.5, built=("a.so",))
        saved = CacheResult(OperationStatus.SUCCESS, files=3, bytes=4_000_000, packs=1)
        trouble = Trouble("/store", "is slow", "mount it nearer")
        for number, (record, result) in enumerate(((hit, None), (cold, saved)), 1):
            figures = SessionFigures({f"test_a.py::test_{number}": record})
            outcome = Outcome(saved=result, store="/store", troubles=(trouble,))
            write_report(self.root / f"shard-{number}.json", Report(figures, outcome, ()))

    def file(self) -> None:
        """A file is in the place of the store."""
        self.store.write_bytes(b"no folder")

    def reported_and_file(self) -> None:
        """A file that is no report is among them."""
        self.reported()
        self.file()

    def compiled_but_file(self) -> None:
        """There is something to save, and a file in the place of the store."""
        self.compiled()
        self.file()


@dataclass(frozen=True)
class Case:
    """One call of a command.

    Attributes:
        command: Its name.
        name: What is special.
        words: What follows ``--json``, in one line; ``STORE`` and ``ROOT`` stand for places.
        scene: What happened before.
        code: The exit code.
        then: The last word, which may hold spaces.
    """

    command: str
    name: str
    words: str
    scene: Callable[[Scene], object] = Scene.untouched
    code: int = 0
    then: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.command}: {self.name}"


STORE = "--store STORE"
CASES = (
    Case("info", "good", STORE, Scene.of_others),
    Case("info", "unusable store", "--store s3://bucket", code=2),
    Case("ls", "good", STORE, Scene.of_others),
    Case("ls", "packs of one environment", f"{ENVIRONMENT.id} {STORE}", Scene.of_others),
    Case("ls", "unknown environment", f"torch9-0000000000000000 {STORE}", Scene.of_others, 2),
    Case("ls", "no store", STORE, code=2),
    Case("ls", "link in the store", f"{ENVIRONMENT.id} {STORE}", Scene.linked, 1),
    Case("explain", "good", STORE, Scene.saved),
    Case("explain", "another environment", STORE, Scene.of_others, 1),
    Case("explain", "a server's, for commands", f"--command {STORE}", Scene.saved, 1),
    Case("explain", "no store", STORE, code=2),
    Case("report", "good", "ROOT/shard-1.json ROOT/shard-2.json", Scene.reported),
    Case("report", "no report", "ROOT/shard-1.json STORE", Scene.reported_and_file, 1),
    Case("report", "nothing but no report", "STORE", Scene.file, 1),
    Case("report", "no file", "ROOT/shard-1.json", code=2),
    Case("load", "good", STORE, Scene.wiped),
    Case("load", "all is here", STORE, Scene.saved),
    Case("load", "nothing of this environment", STORE, Scene.of_others),
    Case("load", "damaged pack", STORE, Scene.wiped_and_damaged, 1),
    Case("save", "good", STORE, Scene.compiled),
    Case("save", "nothing new", STORE, Scene.saved),
    Case("save", "no folder", STORE, Scene.compiled_but_file, 1),
    Case("check", "good", STORE, Scene.of_others),
    Case("check", "damaged pack", STORE, Scene.damaged, 1),
    Case("check", "no store", STORE, code=2),
    Case("prune", "good", STORE, Scene.of_others),
    Case("prune", "no store", STORE, code=2),
    Case("prune", "wrong number", f"{STORE} --keep-days 0", Scene.of_others, 2),
    Case("merge", "good", "ROOT/all STORE", Scene.of_others),
    Case("merge", "damaged pack", "ROOT/all STORE", Scene.damaged, 1),
    Case("merge", "no source", "ROOT/all STORE", code=2),
    Case("key", "good", STORE, Scene.of_others),
    Case("key", "no store yet", STORE),
    Case("key", "merged", f"--merged {STORE}", Scene.of_others),
    Case("key", "nowhere to write", "--github-output", code=2),
    Case("run", "good", f"{STORE} --save always -- sh -c", then=(KERNEL,)),
    Case("run", "loaded", f"{STORE} --save always -- true", Scene.served),
    Case("run", "failing command", f"{STORE} --save always -- sh -c", code=7, then=("exit 7",)),
    Case("run", "killed command", f"{STORE} -- sh -c", code=137, then=("kill -9 $$",)),
    Case("run", "no such command", f"{STORE} -- no-such-server", code=127),
    Case("run", "no program", f"{STORE} -- ROOT", code=126),
    Case("run", "no folder", f"{STORE} --save always -- true", Scene.file),
    Case("run", "no command", STORE, code=2),
    Case("watch", "loaded", STORE, Scene.served),
    Case("watch", "nothing to do", f"{STORE} --save never"),
    Case("watch", "never ready", f"{STORE} --save always --timeout 0.1", code=1),
    Case("watch", "two ways to be ready", "--ready-url http://x --quiet-seconds 1", code=2),
)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_command_prints_what_it_printed_before(case: Case, scene: Scene):
    case.scene(scene)
    words = case.words.replace("STORE", str(scene.store)).replace("ROOT", str(scene.root)).split()
    out = scene.command(case.command, "--json", *words, *case.then, code=case.code)
    found: Any = {"exit code": case.code}
    if out:
        found["facts"] = golden(json.loads(out), scene.root)
    else:
        found["error"] = golden(scene.command.errors.splitlines()[-1], scene.root)
    compare(case.command, case.name, found)


def test_every_command_has_a_good_case_and_a_bad_one():
    bad = {case.command for case in CASES if case.code}
    assert bad | {"doctor"} == {case.command for case in CASES} | {"doctor"} == {*COMMANDS}
    recorded = {
        (file.stem, name) for file in FOLDER.glob("*.json") for name in json.loads(file.read_text())
    }
    assert recorded == {(case.command, case.name) for case in CASES} | DOCTORS


def test_exit_codes_are_those_of_the_documented_table():
    table = re.findall(r"^\| `(\w+)` \| (.*) \| ?(.*) ?\|$", CI.read_text(), re.MULTILINE)
    documented = {(name, code) for name, *cells in table for code, cell in enumerate(cells) if cell}
    found = {(case.command, case.code) for case in CASES} | {("doctor", 0), ("doctor", 1)}
    found.add(("prune", 1))  # which needs another user: see test_unlistable_environment.py
    assert {pair for pair in found if pair[0] != "run" and pair[1] != USAGE} == documented
    assert {code for name, code in found if name == "run"} == {0, 2, 7, 126, 127, 128 + 9}


DOCTORS = {("doctor", "good"), ("doctor", "no compiler")}
# What doctor says of these here, it says everywhere; not so of disks, limits and old versions.
CERTAIN = ("torch", "C++ compiler", "processor", "store <root>/store", "TORCH_COMPILE_DISABLE=1")


@pytest.mark.parametrize(
    ("name", "code", "variables"),
    [("good", 0, {}), ("no compiler", 1, {"CXX": "/nowhere/c++", "TORCH_COMPILE_DISABLE": "1"})],
)
def test_doctor_prints_what_it_printed_before(
    name: str, code: int, variables: dict[str, str], scene: Scene
):
    scene.of_others()
    variables = {**variables, **without_torch(scene.root)}
    facts = scene.command.json("doctor", "--store", scene.store, code=code, **variables)
    facts = golden(facts, scene.root)
    assert {frozenset(each) for each in facts["findings"]} == {
        frozenset({"subject", "level", "finding", "remedy"})
    }
    certain = [each for each in facts["findings"] if each["subject"] in CERTAIN]
    for each in certain:
        if each["level"] == "ok" or each["subject"] == "processor":
            each["finding"] = "<finding>"
    facts["findings"] = [each for each in certain if each["level"] != "note"]
    compare("doctor", name, {"exit code": code, "facts": facts})


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_reads_as_it_did_in_80_columns(name: str):
    words = [*filter(None, [name]), "--help"]
    asked = CliRunner().invoke(application, words, prog_name="compilecache", env={"COLUMNS": "80"})
    text = asked.output
    assert max(map(len, text.splitlines())) <= 80
    compare_text(name or "compilecache", text)
