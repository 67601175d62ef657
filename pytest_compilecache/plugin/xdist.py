"""What only sessions with xdist need. It is registered only where xdist is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from pytest_compilecache.plugin.testing import Testing

_KEY = "compilecache"


class XdistHooks:
    """Brings what workers compiled outside of tests to the controller."""

    def __init__(self, testing: Testing) -> None:
        self._testing = testing
        self._session = testing.session

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker: send what no report carried."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is not None:
            sent = self._session.guard.call("pytest_sessionfinish", self._sent)
            output[_KEY] = sent or {"troubles": [asdict(each) for each in self._session.troubles()]}

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """In the controller: add what a worker sent; a worker that crashed sends nothing."""
        self._session.guard.call("pytest_testnodedown", self._receive, node, error)

    def _sent(self) -> dict[str, Any]:
        self._testing.close()
        figures = self._testing.figures
        return {
            "compiled": self._session.started,
            "outside": figures.outside.to_mapping() if figures is not None else None,
            "troubles": [asdict(each) for each in self._session.troubles()],
            "one_way": self._testing.one_way,
        }

    def _receive(self, node: Any, error: object) -> None:
        sent = (getattr(node, "workeroutput", None) or {}).get(_KEY)
        if sent is None:
            if error:
                self._session.worker_crashed(str(getattr(node.gateway, "id", "of xdist")))
            return
        self._testing.workers_compiled |= sent.get("compiled", False)
        if sent.get("outside") is not None:
            from pytest_compilecache.compiling.events import CompileRecord  # noqa: PLC0415

            self._testing.add_outside(CompileRecord.from_mapping(sent["outside"]))
        self._testing.worker_troubles += sent["troubles"]
        self._testing.one_way += sent.get("one_way", [])
