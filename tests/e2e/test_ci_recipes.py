"""The recipes for CI systems: two shards cold, brought together, then two shards warm."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from tests.e2e.ci_systems import ROOT, GitHub, GitLab, Job
from tests.e2e.command import damage, fill

RECIPES = ROOT / "examples" / "ci"
SHARDS = ("tests 1", "tests 2")

pytestmark = pytest.mark.slow


def assert_cold(jobs: Iterable[Job]) -> None:
    for job in jobs:
        assert "1 of 1 compiled test cold, 1 miss" in job.output
        assert "saved" in job.output


def assert_warm(jobs: Iterable[Job]) -> None:
    for job in jobs:
        assert "warm: 1 compiled test, 1 hit, 0 builds" in job.output, job.output


def summary_of(job: Job) -> str:
    """What the job says on the page of its run."""
    summary = (job.root / "summary.md").read_text()
    assert summary.startswith("## Compile cache")
    return summary


def test_github_workflow_with_two_shards_starts_warm_the_second_time(tmp_path: Path):
    github = GitHub(tmp_path)
    first = github.workflow(RECIPES / "github.yml")
    assert_cold(first[shard] for shard in SHARDS)
    assert "there already" in first["merge"].output
    assert "not warm in 2 of 2 shards" in summary_of(first["merge"])
    (key,) = github.entries
    second = github.workflow(RECIPES / "github.yml")
    assert_warm(second[shard] for shard in SHARDS)
    assert list(github.entries) == [key]  # nothing new was compiled, so nothing new is kept
    for shard in SHARDS:
        assert "✅ warm: 1 compiled test, 1 hit" in summary_of(second[shard])
    assert "✅ warm: 2 compiled tests, 2 hits" in summary_of(second["merge"])


def test_github_keeps_what_is_whole_when_jobs_left_broken_parts(tmp_path: Path):
    """As of a job that died while it saved, or that has another version."""
    github = GitHub(tmp_path)
    left = tmp_path / "artifacts1"
    for shard in ("whole", "broken"):
        fill(left / f"compilecache-shard-{shard}", tmp_path / shard, f"{shard}.h")
        (left / f"compilecache-report-{shard}").mkdir()
    damage(left / "compilecache-shard-broken")
    (left / "compilecache-report-broken" / "compilecache.json").write_text("{")
    merge = github.workflow(workflow_of(tmp_path, "mode: merge"))["job"]
    assert "warning: " in merge.output
    assert "broken/compilecache.json: it is no report" in summary_of(merge)
    (kept,) = github.entries.values()
    assert len(list(kept.rglob("*.pack"))) == 1


def test_github_restores_the_newest_union_whatever_machine_made_it(tmp_path: Path):
    """GitHub's own machines have several processors; a shard's need not be the merge's."""
    github = GitHub(tmp_path)

    def run(number: int, processor: str) -> None:
        compiled = tmp_path / f"compiled{number}"
        fill(compiled, tmp_path / f"w{number}", f"{number}.h")
        compiles = f"run: compilecache merge compilecache-store {compiled}"
        github.workflow(workflow_of(tmp_path, "mode: restore", compiles, "mode: save, shard: 1"))
        machine = f"run: echo {processor} >> $GITHUB_ENV"
        return github.workflow(workflow_of(tmp_path, machine, "mode: merge"), github.artifacts)[
            "job"
        ]

    for number, processor in enumerate(("", "ATEN_CPU_CAPABILITY=avx2")):
        run(number, processor)
        next_run = github.workflow(workflow_of(tmp_path, "mode: restore"))["job"]
        packs = list((next_run.workspace / "compilecache-store").rglob("*.pack"))
        assert len(packs) == number + 1, "what this processor's shards lately compiled is lost"


def test_github_keeps_a_hidden_store_of_a_job_that_runs_again(tmp_path: Path):
    github = GitHub(tmp_path)
    fill(tmp_path / "compiled", tmp_path / "w", "a.h")
    compiles = f"run: compilecache merge .store {tmp_path}/compiled"
    save = "mode: save, shard: 1, store: .store"
    github.workflow(workflow_of(tmp_path, compiles, save, save))
    assert len(list((github.artifacts / "compilecache-shard-1").rglob("*.pack"))) == 1


def test_gitlab_keeps_what_is_whole_when_jobs_left_broken_parts(tmp_path: Path):
    pipeline = yaml.safe_load((RECIPES / "gitlab.yml").read_text())
    pipeline["stages"].remove("test")
    file = tmp_path / "merge.yml"
    file.write_text(yaml.safe_dump(pipeline))
    left = tmp_path / "artifacts1"
    for shard in ("1", "2"):
        fill(left / "compilecache-shards" / shard, tmp_path / shard, f"{shard}.h")
    damage(left / "compilecache-shards" / "1")
    (left / "compilecache-reports").mkdir()
    (left / "compilecache-reports" / "1.json").write_text("{")
    merge = GitLab(tmp_path).pipeline(file)["merge 1"]
    assert "1.json: it is no report" in merge.output
    kept = tmp_path / "cache" / "compilecache" / "compilecache-store"
    assert len(list(kept.rglob("*.pack"))) == 1


def workflow_of(root: Path, *steps: str) -> Path:
    """A workflow of one job: shell steps, and steps of our action with these inputs."""
    ours = "uses: pytest-compilecache/pytest-compilecache@v0\n        with: {{{}}}"
    lines = [each if each.startswith("run:") else ours.format(each) for each in steps]
    file = root / "workflow.yml"
    file.write_text("jobs:\n  job:\n    steps:\n" + "".join(f"      - {each}\n" for each in lines))
    return file


def test_gitlab_pipeline_with_two_shards_starts_warm_the_second_time(tmp_path: Path):
    gitlab = GitLab(tmp_path, stand_in=True)
    first = gitlab.pipeline(RECIPES / "gitlab.yml")
    assert_cold(first[shard] for shard in SHARDS)
    assert "not warm in 2 of 2 shards" in first["merge 1"].output
    second = gitlab.pipeline(RECIPES / "gitlab.yml")
    assert_warm(second[shard] for shard in SHARDS)
    assert "✅ warm: 2 compiled tests, 2 hits" in second["merge 1"].output


def test_shared_directory_starts_warm_the_second_time_and_is_pruned(tmp_path: Path):
    script = RECIPES / "shared_directory.sh"
    variables = {
        "COMPILECACHE_STORE": str(tmp_path / "shared"),
        "COMPILECACHE_SAVE": "always",  # no CI system that we know says whose code this is
    }

    def shards(run: str) -> list[Job]:
        jobs = [
            Job(tmp_path / run / str(number), dict(variables), stand_in=True) for number in (1, 2)
        ]
        for number, job in enumerate(jobs, 1):
            job.run(f"{script} --splits 2 --group {number}")
        return jobs

    assert_cold(shards("first"))
    variables["COMPILECACHE_PRUNE"] = "yes"
    second = shards("second")
    assert_warm(second)
    assert "2 packs left" in second[1].output
