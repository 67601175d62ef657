"""Whether this build may write to the store; not where CI does not say whose code it builds.

A process that can write to a store can run code in every reader. A pull request from a
fork runs a stranger's code with the project's cache in reach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_compilecache.settings import SavePolicy

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
_OWN_EVENTS = frozenset({"push", "schedule", "workflow_dispatch", "merge_group", "release"})


def why_not_saved(
    policy: SavePolicy, environ: Mapping[str, str], option: str = "--compilecache-save"
) -> str:
    """Why this build does not save, or empty where it does.

    With the policy ``auto``, the variables that CI systems set decide. Sources: GitHub's
    "Default environment variables", GitLab's "Predefined CI/CD variables reference".

    Args:
        policy: What the setting says.
        environ: The variables.
        option: The option of the setting.
    """
    if policy != "auto":
        return "" if policy == "always" else f"{option}=never"
    remedy = f"decide it with {option}=always or never"
    if environ.get("GITHUB_ACTIONS") == "true":
        return _on_github(environ, remedy)
    if environ.get("GITLAB_CI") == "true":
        return _on_gitlab(environ)
    named = any(environ.get(name) for name in _CI_WITHOUT_CI)
    if not named and environ.get("CI", "").lower() in {"", "0", "false"}:
        return ""
    return f"this CI system does not say whose code it builds; {remedy}"


def _on_github(environ: Mapping[str, str], remedy: str) -> str:
    event = environ.get("GITHUB_EVENT_NAME", "")
    if event in _OWN_EVENTS:
        return ""
    if event != "pull_request":
        return f"a GitHub event {event!r} may run a stranger's code; {remedy}"
    try:
        with Path(environ["GITHUB_EVENT_PATH"]).open("rb") as file:
            event_text = file.read(_MAX_EVENT_BYTES)  # one that is longer does not parse
        head = json.loads(event_text)["pull_request"]["head"]["repo"]["full_name"]
    except (KeyError, OSError, ValueError, TypeError):
        return f"the pull request's origin cannot be read; {remedy}"
    if head == environ.get("GITHUB_REPOSITORY"):
        return ""
    return f"this pull request comes from the fork {head}"


def _on_gitlab(environ: Mapping[str, str]) -> str:
    source = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH")
    if source is None or source == environ.get("CI_PROJECT_PATH"):
        return ""
    return f"this merge request comes from the fork {source}"
