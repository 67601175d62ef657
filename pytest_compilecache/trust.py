"""Whether this build may write to the store. When it cannot be told, it may not.

Whoever can write to a store can run code in every reader. A pull request from a
fork runs a stranger's code with the project's cache in reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MAX_EVENT_BYTES = 16 * 1024 * 1024
# Systems that do not set CI: Azure Pipelines, Jenkins, TeamCity, AWS CodeBuild, Bamboo, Buildkite.
_CI_WITHOUT_CI = (
    "TF_BUILD",
    "JENKINS_URL",
    "TEAMCITY_VERSION",
    "CODEBUILD_BUILD_ID",
    "bamboo_buildKey",
    "BUILDKITE",
    "BUILD_NUMBER",
)


@dataclass(frozen=True, slots=True)
class Trust:
    """A decision with its reason."""

    may_save: bool
    reason: str = ""


def judge_build(environ: Mapping[str, str], option: str = "--compilecache-save") -> Trust:
    """Judge by the variables that CI systems set.

    Args:
        environ: The variables.
        option: What a person decides it with.

    Sources: GitHub's "Default environment variables", GitLab's "Predefined
    CI/CD variables reference".
    """
    answer = f"decide it with {option}=always or never"
    if environ.get("GITHUB_ACTIONS") == "true":
        return _judge_github(environ, answer)
    if environ.get("GITLAB_CI") == "true":
        return _judge_gitlab(environ)
    named = any(environ.get(name) for name in _CI_WITHOUT_CI)
    if not named and environ.get("CI", "").lower() in {"", "0", "false"}:
        return Trust(may_save=True)
    return Trust(may_save=False, reason=f"this CI does not tell whose code it runs; {answer}")


def _judge_github(environ: Mapping[str, str], answer: str) -> Trust:
    event = environ.get("GITHUB_EVENT_NAME", "")
    if event in {"push", "schedule", "workflow_dispatch", "merge_group", "release"}:
        return Trust(may_save=True)
    if event != "pull_request":
        return Trust(
            may_save=False, reason=f"a GitHub event {event!r} may run a stranger's code; {answer}"
        )
    try:
        with Path(environ["GITHUB_EVENT_PATH"]).open("rb") as file:
            event_text = file.read(_MAX_EVENT_BYTES)  # one that is longer does not parse
        head = json.loads(event_text)["pull_request"]["head"]["repo"]["full_name"]
    except (KeyError, OSError, ValueError, TypeError):
        return Trust(may_save=False, reason=f"the pull request's origin cannot be read; {answer}")
    if head == environ.get("GITHUB_REPOSITORY"):
        return Trust(may_save=True)
    return Trust(may_save=False, reason=f"this pull request comes from the fork {head}")


def _judge_gitlab(environ: Mapping[str, str]) -> Trust:
    source = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH")
    if source is None or source == environ.get("CI_PROJECT_PATH"):
        return Trust(may_save=True)
    return Trust(may_save=False, reason=f"this merge request comes from the fork {source}")
