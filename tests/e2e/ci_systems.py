"""Stand-ins for CI systems: they run the shell steps of our recipes, with folders for caches.

Only what the recipes use is there; anything else is an error, so that a recipe
cannot come to rely on what was never run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.machine import compiler_variables, install_compiler

ROOT = Path(__file__).parents[2]
SUITE = """
import torch

def test_sine():
    assert torch.compile(lambda x: x.sin() * 2)(torch.zeros(3)).tolist() == [0, 0, 0]

def test_cosine():
    assert torch.compile(lambda x: x.cos() * 2)(torch.zeros(3)).tolist() == [2, 2, 2]
"""


@dataclass
class Job:
    """One job on a fresh machine.

    Attributes:
        root: Its machine; nothing of it is left to the next job.
        variables: What the CI system sets.
        stand_in: Whether a small program stands where pytest does.
        output: All that its steps printed.
    """

    root: Path
    variables: dict[str, str]
    stand_in: bool = False
    output: str = ""

    def __post_init__(self) -> None:
        self.workspace, self.tools = self.root / "workspace", self.root / "tools"
        for folder in ("home", "tmp", "workspace", "tools", "runner"):
            (self.root / folder).mkdir(parents=True, mode=0o700)
        (self.workspace / "test_functions.py").write_text(SUITE)
        (self.workspace / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        # All is installed already.
        self._install("pip", "exit 0")
        if self.stand_in:
            python = f"PYTHONPATH={ROOT} exec {sys.executable}"
            self._install("pytest", f'{python} -m tests.e2e.stand_in_pytest "$@"')
        install_compiler(self.tools)

    def _install(self, name: str, script: str) -> None:
        program = self.tools / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def run(self, script: str, variables: Mapping[str, str] | None = None) -> None:
        """Run a shell step; it must succeed."""
        environ = {
            "PATH": f"{self.tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
            "CI": "true",
            # Not what is tested here, and most of the time of so small a suite.
            "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0",
            **compiler_variables(self.root, self.root / "built.log"),
            "SHIM_MEMORY": os.environ.get("SHIM_MEMORY", ""),
            **self.variables,
            **(variables or {}),
        }
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=self.workspace,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.output += done.stdout
        assert done.returncode == 0, f"{script}\n{done.stdout}"


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder over another one."""
    shutil.copytree(source, target, dirs_exist_ok=True, symlinks=True)


@dataclass
class GitHub:
    """GitHub Actions: a cache whose entries never change, and the artifacts of a run.

    Attributes:
        root: Where all of it lies.
        event: Why the workflow runs.
    """

    root: Path
    event: dict[str, str] = field(default_factory=lambda: {"GITHUB_EVENT_NAME": "push"})
    entries: dict[str, Path] = field(default_factory=dict)
    runs: int = 0

    def workflow(self, file: Path, artifacts: Path | None = None) -> dict[str, Job]:
        """Run a workflow; its jobs by name, with the value of the matrix.

        Args:
            file: The workflow.
            artifacts: Those of jobs that ran before.
        """
        self.runs += 1
        self.artifacts = artifacts or self.root / f"artifacts{self.runs}"
        jobs: dict[str, Job] = {}
        for name, description in yaml.safe_load(file.read_text())["jobs"].items():
            matrix = description.get("strategy", {}).get("matrix", {"": [""]})
            ((key, values),) = matrix.items()
            for value in values:
                title = f"{name} {value}".strip()
                known = {f"matrix.{key}": str(value)}
                jobs[title] = self._job(title, description["steps"], known)
        return jobs

    def _job(self, title: str, steps: list[dict[str, Any]], known: dict[str, str]) -> Job:
        root = self.root / f"run{self.runs}" / title.replace(" ", "-")
        variables = {"GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(root / "runner"), **self.event}
        job = Job(root, variables)
        self._steps(job, steps, {**known, "runner.temp": variables["RUNNER_TEMP"]})
        return job

    def _steps(self, job: Job, steps: list[dict[str, Any]], known: dict[str, str]) -> None:
        for number, step in enumerate(steps):
            if "if" in step and not self._holds(step["if"], known, job):
                continue
            if "uses" in step:
                self._use(job, step, known)
                continue
            outputs = job.root / f"output{number}"
            variables = {name: fill(text, known) for name, text in step.get("env", {}).items()}
            files = {
                "GITHUB_OUTPUT": outputs,
                "GITHUB_ENV": job.root / "env",
                "GITHUB_STEP_SUMMARY": job.root / "summary.md",
            }
            named = {name: str(path) for name, path in files.items()}
            job.run(fill(step["run"], known), {**variables, **named})
            job.variables |= commands(job.root / "env")
            for name, value in commands(outputs).items():
                known[f"steps.{step['id']}.outputs.{name}"] = value

    def _use(self, job: Job, step: dict[str, Any], known: dict[str, str]) -> None:
        given = {name: fill(str(text), known) for name, text in step.get("with", {}).items()}
        action = step["uses"].split("@")[0]
        if action == "pytest-compilecache/pytest-compilecache":
            ours = yaml.safe_load((ROOT / "action.yml").read_text())
            defaults = {name: one.get("default", "") for name, one in ours["inputs"].items()}
            assert given.keys() <= defaults.keys()
            values = {**defaults, **given}
            inputs = {f"inputs.{name}": value for name, value in values.items()}
            inputs["runner.temp"] = known["runner.temp"]
            self._steps(job, ours["runs"]["steps"], inputs)
        elif action == "actions/cache/restore":
            self._restore(job.workspace / given["path"], given["key"], given["restore-keys"])
        elif action == "actions/cache/save":
            kept = self.root / "cache" / given["key"]
            if given["key"] not in self.entries:  # an entry never changes
                copy_folder(job.workspace / given["path"], kept)
                self.entries[given["key"]] = kept
        elif action == "actions/upload-artifact":
            self._upload(job.workspace / given["path"], given)
        elif action == "actions/download-artifact":
            for artifact in sorted(self.artifacts.glob(given["pattern"])):
                copy_folder(artifact, job.workspace / given["path"] / artifact.name)
        else:
            assert action in {"actions/checkout", "actions/setup-python"}, action

    def _upload(self, place: Path, given: dict[str, str]) -> None:
        kept = self.artifacts / given["name"]
        assert not set(given["name"]) & set('\\/:*?"<>|\r\n'), "GitHub refuses such a name"
        hidden = place.name.startswith(".") and given.get("include-hidden-files") != "True"
        if hidden or not place.exists():
            assert given["if-no-files-found"] == "ignore"
            return
        assert not kept.exists() or given.get("overwrite") == "True", "it is there already"
        shutil.rmtree(kept, ignore_errors=True)
        if place.is_dir():
            copy_folder(place, kept)
        else:
            kept.mkdir(parents=True)
            shutil.copy(place, kept)

    def _restore(self, path: Path, key: str, restore_keys: str) -> None:
        for wanted in (key, *restore_keys.split()):
            # The newest first: a dictionary keeps the order of what was added.
            for name, kept in reversed(self.entries.items()):
                if name == key or (wanted != key and name.startswith(wanted)):
                    copy_folder(kept, path)
                    return

    def _holds(self, condition: str, known: dict[str, str], job: Job) -> bool:
        text = condition.replace("always()", "True").replace("&&", " and ").replace("||", " or ")
        text = re.sub(r"inputs\.([\w-]+)", lambda found: repr(known[found[0]]), text)

        def hash_files(pattern: str) -> str:
            return "hash" if any(job.workspace.glob(pattern)) else ""

        names = {"hashFiles": hash_files, "format": lambda text, *values: text.format(*values)}
        return bool(eval(text, {"__builtins__": {}}, names))


def fill(text: str, known: Mapping[str, str]) -> str:
    """A text with its expressions replaced; one that is not known is an error."""
    return re.sub(r"\$\{\{ *([\w.-]+) *\}\}", lambda found: known.get(found[1], ""), text)


def commands(file: Path) -> dict[str, str]:
    """What a step wrote to GITHUB_ENV or GITHUB_OUTPUT."""
    found: dict[str, str] = {}
    lines = iter(file.read_text().splitlines() if file.exists() else ())
    for line in lines:
        if "<<" in line:
            name, end = line.split("<<")
            block = []
            for each in lines:
                if each == end:
                    break
                block.append(each)
            found[name] = "\n".join(block)
        else:
            name, _, found[name] = line.partition("=")
    return found


@dataclass
class GitLab:
    """GitLab CI: one folder for each key of the cache, and the artifacts of a pipeline."""

    root: Path
    stand_in: bool = False
    pipelines: int = 0

    def pipeline(self, file: Path) -> dict[str, Job]:
        """Run a pipeline; its jobs by name, with their number."""
        self.pipelines += 1
        artifacts = self.root / f"artifacts{self.pipelines}"
        description = yaml.safe_load(file.read_text())
        jobs: dict[str, Job] = {}
        for stage in description["stages"]:
            for name, one in description.items():
                if not isinstance(one, dict) or one.get("stage") != stage:
                    continue
                for number in range(1, one.get("parallel", 1) + 1):
                    title = f"{name} {number}"
                    root = self.root / f"pipeline{self.pipelines}" / title.replace(" ", "-")
                    total = str(one.get("parallel", 1))
                    jobs[title] = self._job(root, description, one, artifacts, number, total)
        return jobs

    def _job(
        self,
        root: Path,
        description: dict[str, Any],
        one: dict[str, Any],
        artifacts: Path,
        number: int,
        total: str,
    ) -> Job:
        variables = {"GITLAB_CI": "true", "CI_NODE_INDEX": str(number), "CI_NODE_TOTAL": total}
        job = Job(root, variables, self.stand_in)
        job.variables["CI_PROJECT_DIR"] = str(job.workspace)
        for name, text in description["variables"].items():
            job.variables[name] = text.replace("$CI_PROJECT_DIR", str(job.workspace))
        cache, kept = one["cache"], self.root / "cache" / one["cache"]["key"]
        for path in cache["paths"]:
            if (kept / path).is_dir():
                copy_folder(kept / path, job.workspace / path)
        if artifacts.is_dir():
            copy_folder(artifacts, job.workspace)
        job.run("\n".join(one["script"]))
        job.run("\n".join(one.get("after_script", ["true"])))
        for path in cache["paths"]:
            if cache["policy"] == "pull-push" and (job.workspace / path).is_dir():
                shutil.rmtree(kept / path, ignore_errors=True)
                copy_folder(job.workspace / path, kept / path)
        for path in one.get("artifacts", {}).get("paths", ()):
            if (job.workspace / path).is_dir():
                copy_folder(job.workspace / path, artifacts / path)
        return job
