"""Lets one process restore a workspace while the others that need it wait. It never fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pytest_compilecache.workspace.place import Workspace

_WAIT_SECONDS = 600.0


@contextlib.contextmanager
def restoring_turn(workspace: Workspace, seconds: float = _WAIT_SECONDS) -> Iterator[None]:
    """Hold the turn, or go on without it: restoring beside another costs time only.

    Args:
        workspace: The workspace.
        seconds: How long to wait for whoever has the turn, who may be stopped, or slow.
    """
    from filelock import FileLock  # noqa: PLC0415  (whoever only imports us does not pay)

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, TimeoutError):
            lock = FileLock(workspace.state / "restore.lock")
            stack.enter_context(lock.acquire(timeout=seconds))
        yield
