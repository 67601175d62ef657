"""When a server has compiled what it serves with. It only looks, and every wait has an end."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from typing import IO
from urllib.parse import urlsplit

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.scan import scan

Check = Callable[[], bool]

_LOOK_SECONDS = 0.5
_REST, _LONGEST_REST_SECONDS = 20, 5.0
_ANSWER_SECONDS = 5.0
_GOOD = range(200, 300)


class UrlReadiness:
    """Ready is what answers an HTTP request with a status from 200 to 299.

    Proxies and redirections are not followed: they would answer for a server that does not.

    Args:
        url: An ``http`` or ``https`` URL.

    Raises:
        SettingsError: It is none.
    """

    def __init__(self, url: str) -> None:
        if not _is_http(url):
            remedy = "write it out, such as http://127.0.0.1:8000/health"
            raise SettingsError("--ready-url", f"{url!r} is no HTTP URL", remedy)
        self._url = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirection)

    def __call__(self) -> bool:
        """Ask once."""
        try:
            with self._opener.open(self._url, timeout=_ANSWER_SECONDS) as answer:
                return answer.status in _GOOD
        except (OSError, http.client.HTTPException, ValueError):
            return False


class QuietReadiness:
    """Ready is what has written to its caches, and then not for a while.

    Args:
        workspace: The caches.
        seconds: How long nothing may have changed.
    """

    def __init__(self, workspace: Workspace, seconds: float) -> None:
        self._workspace = workspace
        self._seconds = seconds
        self._before = self._look()
        self._changed: float | None = None

    def __call__(self) -> bool:
        """Look once."""
        now, found = time.monotonic(), self._look()
        if found != self._before:
            self._before, self._changed = found, now
        return self._changed is not None and now - self._changed >= self._seconds

    def _look(self) -> frozenset[tuple[str, int, int]]:
        unfinished: list[str] = []
        with contextlib.suppress(OSError):
            files = scan(self._workspace, unfinished).values()
            found = {(file.path, file.size, file.modified) for file in files}
            # What a compiler is still writing is news as well.
            return frozenset(found | {(place, _size(place), 0) for place in unfinished})
        return frozenset()


def wait_until(check: Check, stop: threading.Event, seconds: float) -> bool:
    """Look again and again until something is ready; False after so many seconds, or when stopped.

    Args:
        check: Looks once.
        stop: Set by another thread when it no longer matters.
        seconds: How long to wait at most.
    """
    deadline = time.monotonic() + seconds
    while not stop.is_set():
        looked = time.monotonic()
        if check():
            return True
        now = time.monotonic()
        if now >= deadline:
            return False
        # A look at ten thousand files takes a tenth of a second of a busy server's time.
        rest = min(_REST * (now - looked), _LONGEST_REST_SECONDS)
        stop.wait(min(max(_LOOK_SECONDS, rest), deadline - now))
    return False


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # A port that no server can have would be waited for in vain.
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of brackets, and of ports
        return False


def _size(place: str) -> int:
    try:
        return os.stat(place, follow_symlinks=False).st_size  # noqa: PTH116
    except OSError:
        return 0


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        return None
