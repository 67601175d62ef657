from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_compilecache.trust import judge_build


def pull_request(tmp_path: Path, text: str) -> dict[str, str]:
    event = tmp_path / "event.json"
    event.write_text(text)
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REPOSITORY": "us/project",
    }


def origin(name: str) -> str:
    return json.dumps({"pull_request": {"head": {"repo": {"full_name": name}}}})


def test_own_machine_may_save():
    assert judge_build({}).may_save


@pytest.mark.parametrize("event", ["push", "schedule", "workflow_dispatch"])
def test_own_code_on_github_may_save(event: str):
    assert judge_build({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": event}).may_save


def test_own_pull_request_may_save_and_a_forks_may_not(tmp_path: Path):
    assert judge_build(pull_request(tmp_path, origin("us/project"))).may_save
    fork = judge_build(pull_request(tmp_path, origin("them/project")))
    assert not fork.may_save
    assert "them/project" in fork.reason


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pull_request": {"head": {"repo": null}}}'])
def test_pull_request_that_cannot_be_read_may_not_save(text: str, tmp_path: Path):
    assert not judge_build(pull_request(tmp_path, text)).may_save


def test_pull_request_target_runs_strangers_code_with_our_rights():
    event = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request_target"}
    assert not judge_build(event).may_save


def test_gitlab_fork_may_not_save():
    own = {"GITLAB_CI": "true", "CI": "true", "CI_PROJECT_PATH": "us/project"}
    assert judge_build(own).may_save
    assert judge_build({**own, "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "us/project"}).may_save
    assert not judge_build({**own, "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "them/x"}).may_save


@pytest.mark.parametrize("name", ["TF_BUILD", "JENKINS_URL", "TEAMCITY_VERSION", "BUILDKITE"])
def test_ci_that_does_not_call_itself_ci_may_not_save_either(name: str):
    assert not judge_build({name: "x"}).may_save


def test_ci_that_does_not_tell_may_not_save_and_says_how_to_decide():
    decision = judge_build({"CI": "true"})
    assert not decision.may_save
    assert "--compilecache-save" in decision.reason
