"""What commands take from their command line and the variables: options, numbers, the store."""

from __future__ import annotations

import os
from typing import Any

import click

from pytest_compilecache.cli.output import Output
from pytest_compilecache.patches import users_environ
from pytest_compilecache.server_settings import ServerSettings, read_server_settings

_MOST = 1_000_000_000

json_option = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")
store_option = click.option("--store", metavar="PLACE", help="A folder or its file:// URL.")


def output_of(parameters: dict[str, Any]) -> Output:
    """The output that a command's options ask for."""
    return Output(as_json=bool(parameters.get("as_json")))


def settings_with(store: str | None) -> ServerSettings:
    """The settings of the variables, with the store that the command line names.

    Raises:
        SettingsError: A variable has a value that cannot be used; it is named.
    """
    return read_server_settings(users_environ(os.environ), store=store)


def seconds(word: str) -> float:
    """Parse seconds, of which 0 is allowed.

    A range of click's would be spelled out with every option's help.
    """
    try:
        number = float(word)
    except ValueError:
        raise click.BadParameter(f"{word!r} is not a number") from None
    return _checked(word, number, 0)


def count(word: str) -> int:
    """Parse a number of things, of which there is one at least."""
    try:
        number = int(word)
    except ValueError:
        raise click.BadParameter(f"{word!r} is not a whole number") from None
    return int(_checked(word, number, 1))


def _checked(word: str, number: float, least: int) -> float:
    if not least <= number <= _MOST:  # nor is NaN
        raise click.BadParameter(f"{word} is not from {least} to {_MOST:,}")
    return number
