"""Environment variables that we set: marked as ours, never over the user's, and taken back."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

# Names and values that we set. A child process (an xdist worker, a test's own
# subprocess) would otherwise take them for its user's.
MARK = "COMPILECACHE_APPLIED"


def users_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables without those that a session of ours, here or in a parent, has set."""
    users = dict(environ)
    for name, value in _applied(users.pop(MARK, "")).items():
        if users.get(name) == value:
            del users[name]
    return users


def _applied(text: str) -> dict[str, str]:
    if not text:
        return {}
    import json  # noqa: PLC0415  (a session that sets nothing does not need it)

    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return (
        {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}
    )


class Variables:
    """Sets variables and can take them back."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self.environ = os.environ if environ is None else environ
        self._before: dict[str, str | None] = {}
        self._ours: dict[str, str] = {}

    def set(self, name: str, value: str) -> None:
        """Set a variable and mark it as ours."""
        self._put(name, value)
        self._ours[name] = value
        self._mark()

    def put(self, name: str, value: str) -> None:
        """Set a variable that only we read."""
        self._put(name, value)

    def sets(self, name: str) -> bool:
        """Whether the variable has a value of ours."""
        return name in self._ours

    def take_back(self, name: str) -> None:
        """Give one variable its former value."""
        self._ours.pop(name, None)
        self._mark()
        self._restore(name, self._before.pop(name, None))

    def restore(self) -> None:
        """Give all variables their former values."""
        for name, value in self._before.items():
            self._restore(name, value)
        self._before.clear()
        self._ours.clear()

    def _mark(self) -> None:
        import json  # noqa: PLC0415

        self._put(MARK, json.dumps(self._ours))

    def _put(self, name: str, value: str) -> None:
        self._before.setdefault(name, self.environ.get(name))
        self.environ[name] = value

    def _restore(self, name: str, value: str | None) -> None:
        if value is None:
            self.environ.pop(name, None)
        else:
            self.environ[name] = value
