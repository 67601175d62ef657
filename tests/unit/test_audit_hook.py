"""One audit hook serves all who listen, however many come and go."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_compilecache import audit_hook

MANY = """
import sys
from pathlib import Path
from pytest_compilecache import audit_hook
from pytest_compilecache.compiling.builds import BuildCounter
from pytest_compilecache.workspace.place import choose_workspace
from pytest_compilecache.workspace.usage import UsageLog

hooks = []
sys.addaudithook(lambda event, arguments: hooks.append(1) if event == "sys.addaudithook" else None)
for _ in range(100):
    for log in (BuildCounter(list), UsageLog(choose_workspace(Path("root"), "torch-1", None))):
        log.start()
        log.start()
        log.stop()
        log.stop()
print(len(hooks), sum(map(len, audit_hook._listeners.values())))
"""


def test_each_hears_its_own_events_while_it_listens():
    heard: list[tuple[str, object]] = []
    stop = audit_hook.listen(
        lambda event, arguments: heard.append((event, arguments)), "one", "two"
    )
    other = audit_hook.listen(lambda _, arguments: heard.append(("other", arguments)), "two")
    sys.audit("one", 1)
    sys.audit("two", 2)
    sys.audit("three", 3)
    stop()
    stop()
    sys.audit("one", 4)
    sys.audit("two", 5)
    other()
    sys.audit("two", 6)
    assert heard == [("one", (1,)), ("two", (2,)), ("other", (2,)), ("other", (5,))]


def test_who_stops_while_an_event_is_told_disturbs_nobody():
    heard: list[str] = []
    first = audit_hook.listen(lambda *_: (heard.append("first"), first()), "one")
    second = audit_hook.listen(lambda *_: heard.append("second"), "one")
    sys.audit("one")
    sys.audit("one")
    second()
    assert heard == ["first", "second", "second"]


def test_what_a_listener_raises_the_operation_raises():
    def refuse(*_: object) -> None:
        raise PermissionError("not here")

    stop = audit_hook.listen(refuse, "one")
    try:
        with pytest.raises(PermissionError, match="not here"):
            sys.audit("one")
    finally:
        stop()
    sys.audit("one")


def test_a_hundred_sessions_in_a_process_leave_one_hook_and_no_listener():
    run = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout.split() == ["1", "0"], run.stderr
