"""Runs something in a forked process that is killed at one of its calls to the operating system."""

from __future__ import annotations

import os
import pickle
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from tests.crash.faults import Kill, intercepted


def run_until_killed(operation: Callable[[], Any], position: int) -> Any:
    """What the operation returned, or None when it was killed before it could.

    Args:
        operation: It runs in a process of its own, whose memory is lost.
        position: The call at which the process is killed, without any clean-up.
    """
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Others may have threads here; none of them holds what the child needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _be_the_child(operation, position, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    if not told:
        return None
    result, raised = pickle.loads(told)
    assert not raised, raised
    return result


def _be_the_child(operation: Callable[[], Any], position: int, pipe: int) -> None:
    result, raised = None, ""
    try:
        with intercepted(Kill(position)):
            result = operation()
    except BaseException:  # noqa: BLE001  (told to the parent)
        raised = traceback.format_exc()
    try:
        os.write(pipe, pickle.dumps((result, raised)))
    finally:
        os._exit(0)
