"""The command ``compilecache``. What a command needs is loaded when it runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_MISSING = (
    "compilecache: its commands need {name}, which is not installed "
    "(pip install 'pytest-compilecache[cli]')"
)
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The words after ``compilecache``; by default those of this process.

    Returns:
        The exit code: 0 when all is well, 1 when something is wrong, 2 when the command
        line or a setting is; ``run`` gives its command's own.
    """
    try:
        import click  # noqa: F401, PLC0415
        import rich  # noqa: F401, PLC0415
    except ImportError as error:
        print(_MISSING.format(name=error.name), file=sys.stderr)  # noqa: T201
        return USAGE
    from pytest_compilecache.cli.application import run  # noqa: PLC0415

    return run(arguments)
