"""What only sessions with xdist need. It is registered only where xdist is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from pytest_compilecache.plugin.collecting import Collecting

_KEY = "compilecache"


class XdistHooks:
    """Brings what workers compiled outside of tests to the controller."""

    def __init__(self, collecting: Collecting) -> None:
        self._collecting = collecting

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker: send what no report carried."""
        output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if output is None:
            return
        self._collecting.close()
        figures, engine = self._collecting.figures, self._collecting.session.engine
        output[_KEY] = {
            "compiled": engine is not None,
            "outside": figures.outside.to_mapping() if figures is not None else None,
            "troubles": [asdict(each) for each in engine.troubles()] if engine is not None else [],
            "one_way": self._collecting.one_way,
        }

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """In the controller: add what a worker sent; a worker that crashed sends nothing."""
        sent = (getattr(node, "workeroutput", None) or {}).get(_KEY)
        if sent is None:
            return
        self._collecting.workers_compiled |= sent["compiled"]
        if sent["outside"] is not None:
            from pytest_compilecache.compiling.events import CompileRecord  # noqa: PLC0415

            self._collecting.add_outside(CompileRecord.from_mapping(sent["outside"]))
        self._collecting.worker_troubles += sent["troubles"]
        self._collecting.one_way += sent["one_way"]
