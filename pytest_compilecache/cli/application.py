"""The commands by name, and how errors end. A command's own module is loaded when it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from pytest_compilecache.cli.output import Output, discard, prepare_streams
from pytest_compilecache.errors import CompileCacheError, SettingsError

WRONG = 1
USAGE = 2
INTERRUPTED = 130
EXIT_CODES = {
    0: "all is well",
    WRONG: "something is wrong",
    USAGE: "the command line or a setting is wrong",
    INTERRUPTED: "interrupted (Ctrl-C)",
}

# Each with its module and its one line in the list, so that help loads nothing else.
COMMANDS = {
    "info": ("info", "Say what is in force here, and where each setting comes from."),
    "doctor": ("doctor", "Look for what would slow down, break or endanger the cache."),
    "ls": ("stores", "List what a store holds."),
    "explain": ("cache", "Say why a store has nothing for this environment."),
    "load": ("cache", "Bring what the store has for this environment."),
    "save": ("cache", "Add to the store what was compiled here."),
    "check": ("stores", "Read a store to its last byte and say what is wrong."),
    "prune": ("stores", "Delete what is old, damaged, or over the limit."),
    "merge": ("stores", "Copy what other stores hold, such as those of CI shards."),
    "run": (
        "servers",
        "Run a command with its cache: load, save when it is ready.",
    ),
    "watch": ("servers", "Beside a command: load at once, or save when it is ready."),
    "key": ("cache", "Print keys for the cache of a CI system."),
    "report": ("reports", "Make one report of those that CI shards left."),
}


class _Commands(click.Group):
    """Loads a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pytest_compilecache.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-compilecache", message="%(version)s")
def application() -> None:
    """Keep what torch.compile made, for test suites and servers.

    Exit codes: 0 all is well; 1 something is wrong; 2 the command line or a setting is
    wrong. The store is --store, else COMPILECACHE_STORE, else B10FS_CACHE_DIR, else the
    default of `compilecache info`.
    """


def run(arguments: Sequence[str] | None) -> int:
    """Run a command and give its exit code."""
    prepare_streams()
    try:
        result = application.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="compilecache",
            standalone_mode=False,
        )
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SettingsError as error:
        return _failed(error, USAGE)
    except CompileCacheError as error:
        return _failed(error, WRONG)
    except OSError as error:
        return _failed(error, WRONG)
    return result if isinstance(result, int) else 0


def _failed(error: Exception, code: int) -> int:
    try:
        sys.stdout.flush()
    except OSError:  # which may be why, and Python would fail again at its end
        discard(sys.stdout)
    Output(as_json=False).error(str(error))
    return code
