"""Runs commands in forks of one process that has loaded them: to start Python takes longest.

A line of JSON on standard input is one call; the answer is its exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback

from pytest_compilecache.cli import main
from pytest_compilecache.cli.application import COMMANDS


def call(words: list[str], environ: dict[str, str], out: str, err: str) -> int:
    """Run a command to its end."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code: object = 1
    try:
        for number, name in ((1, out), (2, err)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.clear()
        os.environ.update(environ)
        code = main(words)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    for module, _ in COMMANDS.values():
        importlib.import_module(f"pytest_compilecache.cli.{module}")
    importlib.import_module("pytest")  # which info asks for a project's settings
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        answers.write(f"{call(**json.loads(line))}\n")
