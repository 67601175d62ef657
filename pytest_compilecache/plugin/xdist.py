"""What only sessions with xdist need. It is registered only where xdist is."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_compilecache.compiling.events import CompileRecord
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
        if output is not None:
            self._collecting.close()
            troubles = [str(item) for item in self._collecting.session.troubles]
            output[_KEY] = {
                "outside": self._collecting.figures.outside.to_mapping(),
                "troubles": troubles,
            }

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """In the controller: add what a worker sent; a worker that crashed sends nothing."""
        del error
        sent = (getattr(node, "workeroutput", None) or {}).get(_KEY)
        if sent is not None:
            self._collecting.figures.add_outside(CompileRecord.from_mapping(sent["outside"]))
