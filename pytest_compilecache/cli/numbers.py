"""Numbers on a command line. A range of click's would be spelled out with every option's help."""

from __future__ import annotations

import click

_MOST = 1_000_000_000


def seconds(word: str) -> float:
    """Parse seconds; none is a duration, too."""
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
