from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_compilecache.save_policy import why_not_saved


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


def why(environ: dict[str, str]) -> str:
    return why_not_saved("auto", environ)


def test_own_machine_may_save():
    assert not why({})


def test_always_and_never_hold_whatever_the_build_is():
    assert not why_not_saved("always", {"CI": "true"})
    assert why_not_saved("never", {}, option="--save") == "--save=never"


@pytest.mark.parametrize("event", ["push", "schedule", "workflow_dispatch"])
def test_own_code_on_github_may_save(event: str):
    assert not why({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": event})


def test_own_pull_request_may_save_and_a_forks_may_not(tmp_path: Path):
    assert not why(pull_request(tmp_path, origin("us/project")))
    assert "them/project" in why(pull_request(tmp_path, origin("them/project")))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pull_request": {"head": {"repo": null}}}'])
def test_pull_request_that_cannot_be_read_may_not_save(text: str, tmp_path: Path):
    assert why(pull_request(tmp_path, text))


def test_pull_request_target_runs_strangers_code_with_our_rights():
    event = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request_target"}
    assert why(event)


def test_gitlab_fork_may_not_save():
    own = {"GITLAB_CI": "true", "CI": "true", "CI_PROJECT_PATH": "us/project"}
    assert not why(own)
    assert not why({**own, "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "us/project"})
    assert why({**own, "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "them/x"})


@pytest.mark.parametrize("name", ["TF_BUILD", "JENKINS_URL", "TEAMCITY_VERSION", "BUILDKITE"])
def test_ci_that_does_not_call_itself_ci_may_not_save_either(name: str):
    assert why({name: "x"})


def test_ci_that_does_not_tell_may_not_save_and_says_how_to_decide():
    assert "--compilecache-save" in why({"CI": "true"})
