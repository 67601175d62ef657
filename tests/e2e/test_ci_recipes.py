"""The recipes for CI systems: two shards cold, brought together, then two shards warm."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.e2e.ci_systems import ROOT, GitHub, GitLab, Job

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


def test_gitlab_pipeline_with_two_shards_starts_warm_the_second_time(tmp_path: Path):
    gitlab = GitLab(tmp_path)
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
        jobs = [Job(tmp_path / run / str(number), dict(variables)) for number in (1, 2)]
        for number, job in enumerate(jobs, 1):
            job.run(f"{script} --splits 2 --group {number}")
        return jobs

    assert_cold(shards("first"))
    variables["COMPILECACHE_PRUNE"] = "yes"
    second = shards("second")
    assert_warm(second)
    assert "2 packs left" in second[1].output
