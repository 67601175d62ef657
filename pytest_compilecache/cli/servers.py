"""``run`` and ``watch``: the cache for a server that knows nothing of it."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import click

from pytest_compilecache.cache.log import LOGGER
from pytest_compilecache.cli.application import WRONG
from pytest_compilecache.cli.options import seconds, settings_with, store_option
from pytest_compilecache.cli.output import discard, say
from pytest_compilecache.server.keeping import CommandProcess, Relation
from pytest_compilecache.server.readiness import Check, QuietReadiness, UrlReadiness
from pytest_compilecache.server.run import RunPlan
from pytest_compilecache.server.run import run as run_command
from pytest_compilecache.server.watch import WatchPlan
from pytest_compilecache.server.watch import watch as watch_beside
from pytest_compilecache.settings import SAVE_POLICIES, SavePolicy

_QUIET_SECONDS = 30.0

_Option: TypeAlias = Callable[[Callable[..., int]], Callable[..., int]]


def _seconds_option(name: str, text: str, default: int | None = None) -> _Option:
    return click.option(
        name, type=seconds, default=default, show_default=True, metavar="N", help=text
    )


def _server_options(function: Callable[..., int]) -> Callable[..., int]:
    """The options that both commands have."""
    options = (
        store_option,
        click.option(
            "--ready-url", metavar="URL", help="Ready when this URL answers with status 200 to 299."
        ),
        _seconds_option(
            "--quiet-seconds",
            "Else ready when its caches changed, and then not for N seconds.  [default: 30]",
        ),
        click.option(
            "--save",
            "policy",
            type=click.Choice(SAVE_POLICIES),
            default="auto",
            show_default=True,
            help="auto: not where the code may be a stranger's (a fork's pull request).",
        ),
        click.option(
            "--json", "as_json", is_flag=True, help="Say at the end how it went, on one line."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.command(context_settings={"allow_interspersed_args": False})
@_server_options
@_seconds_option("--load-timeout", "Start after N seconds, loaded or not.", 120)
@_seconds_option("--ready-timeout", "Do not wait longer to save when ready.", 1800)
@_seconds_option("--save-timeout", "End N seconds after the command, saved or not.", 30)
@_seconds_option(
    "--kill-after",
    "Kill what has not ended N seconds after a signal that asks for it; by default, wait.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: tuple[str, ...], **parameters: Any) -> int:
    """Run COMMAND with what the store has, and save what it compiles.

    Loads, starts the command, saves when it is ready and again at its end:

    \b
      compilecache run --ready-url URL -- vllm serve MODEL

    Signals are passed on. The exit code is the command's: 128 and the number of the signal
    that ended it, 126 or 127 when it cannot be started. All timeouts are seconds.
    """  # noqa: D301  (\b is click's)
    _log_to_stderr()
    plan = RunPlan(
        command,
        _readiness(parameters),
        parameters["load_timeout"],
        parameters["ready_timeout"],
        parameters["save_timeout"],
        parameters["kill_after"],
    )
    outcome = run_command(plan, _keeper(parameters, Relation.CHILD, command[0]))
    _print(parameters, outcome.to_mapping)
    return _leave(outcome.ended.exit_code, at_once=outcome.cut_short)


@click.command()
@_server_options
@_seconds_option("--load-timeout", "Give up a load that takes longer.", 120)
@_seconds_option("--timeout", "Do not wait longer for it to be ready.", 1800)
@_seconds_option("--save-timeout", "Give up a save that takes longer.", 600)
def watch(**parameters: Any) -> int:
    """Load for a command that is about to start, or save once it is ready.

    Works beside a command that stays as it is, with the same variables, and ends by itself:

    \b
      compilecache watch --ready-url URL & vllm serve MODEL

    Loads at once if the store has something for this environment; else it waits up to
    --timeout seconds for the command to be ready, and saves. Exit code 1 when neither worked.
    """  # noqa: D301  (\b is click's)
    _log_to_stderr()
    keeper = _keeper(parameters, Relation.NEIGHBOUR)
    plan = WatchPlan(
        _readiness(parameters),
        parameters["load_timeout"],
        parameters["timeout"],
        parameters["save_timeout"],
    )
    outcome = watch_beside(keeper, plan)
    _print(parameters, outcome.to_mapping)
    return _leave(0 if outcome.ok else WRONG, at_once=outcome.cut_short)


def _leave(code: int, *, at_once: bool) -> int:
    """End with a code; at once where a thread hangs, for whose helpers Python would wait."""
    if at_once:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    return code


def _readiness(parameters: dict[str, Any]) -> Callable[[CommandProcess], Check]:
    url, quiet = parameters["ready_url"], parameters["quiet_seconds"]
    if url is not None:
        if quiet is not None:
            raise click.UsageError("give --ready-url or --quiet-seconds, not both")
        ready = UrlReadiness(url)
        return lambda _: ready
    return functools.partial(_quiet, seconds=_QUIET_SECONDS if quiet is None else quiet)


def _quiet(keeper: CommandProcess, seconds: float) -> Check:
    if keeper.site is None:
        return lambda: False
    return QuietReadiness(keeper.site.workspace, seconds)


def _keeper(parameters: dict[str, Any], relation: Relation, command: str = "") -> CommandProcess:
    settings = settings_with(parameters["store"])
    for clamped in settings.clamped:
        LOGGER.warning("compile cache: %s", clamped)
    policy: SavePolicy = parameters["policy"]
    return CommandProcess(settings, relation, policy, command)


def _log_to_stderr() -> None:
    """One line for each event, beside what the command itself writes."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)


def _print(parameters: dict[str, Any], facts: Callable[[], dict[str, Any]]) -> None:
    if not parameters["as_json"]:
        return
    try:  # on one line: the command's own output stands above
        say(json.dumps(facts(), default=str))
    except OSError as error:  # a full disk, which is no reason for another exit code
        LOGGER.warning("compile cache: how it went cannot be printed: %s", error)
        discard(sys.stdout)
