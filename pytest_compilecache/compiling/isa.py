"""Puts the vector instructions that torch really picks into its cache keys.

Torch's own keys lack them: code made for AVX-512 is a "hit" under AVX2 and
computes wrong numbers. A torn probe library lowers the pick silently.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_compilecache.compiling import private
from pytest_compilecache.compiling.events import CompileEvent, EventSink
from pytest_compilecache.compiling.facts import IsaProbe


@dataclass(slots=True)
class IsaTag:
    """The part of a cache key that names the picked instructions, found out once per process.

    Attributes:
        sink: Where a lowered pick is reported.
        heal: Moves torn probe libraries away; says whether there were any.
        record: Remembers, from one session to the next, which probes worked here.
    """

    sink: EventSink
    heal: Callable[[], bool]
    record: Path
    _probed: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __call__(self) -> str:
        """The tag; the first call builds and loads torch's probe libraries.

        Torch picks anew for every kernel, by a variable that a test may change.
        """
        with self._lock:
            if not self._probed:
                self._probe()
                self._probed = True
            return f"+isa={private.picked_isa() or 'unknown'}"

    def _probe(self) -> None:
        probe = private.probe_isa()
        if probe is None or not probe.failed:
            self._remember(probe)
            return
        first = probe
        if self.heal():
            private.forget_isa()
            probe = private.probe_isa() or first
        self._report(first, probe)
        self._remember(probe)

    def _report(self, first: IsaProbe, last: IsaProbe) -> None:
        if first.failed != last.failed:
            healed = ", ".join(sorted(set(first.failed) - set(last.failed)))
            self._say(
                f"probe libraries of {healed} were torn and are healed; {last.picked} is picked"
            )
        lost = sorted(set(last.failed) & self._worked_before())
        if lost:
            self._say(
                f"{', '.join(lost)} worked here before and does not now; {last.picked} is picked"
            )

    def _say(self, reason: str) -> None:
        self.sink.add(CompileEvent("isa", reason=reason))

    def _worked_before(self) -> set[str]:
        try:
            return {str(name) for name in json.loads(self.record.read_bytes())}
        except (OSError, ValueError, TypeError):
            return set()

    def _remember(self, probe: IsaProbe | None) -> None:
        known = self._worked_before()
        if probe is None or known.issuperset(probe.worked):
            return
        try:
            self.record.write_text(json.dumps(sorted(known.union(probe.worked))), encoding="utf-8")
        except OSError:
            return  # only a later comparison is lost
