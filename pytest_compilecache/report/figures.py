"""Adds up what all tests of a session compiled, and judges whether the session was warm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_compilecache.compiling.events import CompileEvent, CompileRecord, EventKind, total


@dataclass(slots=True)
class SessionFigures:
    """The compile records of a session.

    Attributes:
        tests: The record of each test that compiled, over all its phases.
        outside: What was compiled outside of tests, while they were collected.
    """

    tests: dict[str, CompileRecord] = field(default_factory=dict)
    outside: CompileRecord = field(default_factory=CompileRecord)

    def add(self, test: str, record: CompileRecord) -> None:
        """Add what one phase of a test compiled."""
        self.tests[test] = self.tests.get(test, CompileRecord()) + record

    def add_outside(self, record: CompileRecord) -> None:
        """Add what was compiled outside of tests."""
        self.outside += record

    @property
    def expected(self) -> dict[str, CompileRecord]:
        """The tests that compiled, but those that asked for a cold start."""
        return {
            test: record
            for test, record in self.tests.items()
            if record.compiled and not record.fresh
        }

    @property
    def fresh(self) -> int:
        """How many tests asked for a cold start."""
        return sum(record.fresh for record in self.tests.values())

    @property
    def sum(self) -> CompileRecord:
        """Everything, but what was asked to be cold."""
        return total((*self.expected.values(), self.outside))

    @property
    def compiled(self) -> bool:
        """Whether anything was compiled or loaded at all."""
        return self.outside.compiled or any(one.compiled for one in self.tests.values())

    @property
    def warm(self) -> bool:
        """Whether something was compiled, and all of it came from the cache."""
        return self.sum.warm

    def cold(self) -> list[tuple[str, CompileRecord]]:
        """The tests for which the compiler worked, the slowest first."""
        cold = [
            (test, record)
            for test, record in self.expected.items()
            if record.count("miss") or record.built
        ]
        return sorted(cold, key=lambda item: -item[1].seconds)

    def events(self, kind: EventKind) -> Iterator[tuple[str, CompileEvent]]:
        """The events of a kind, each with its test; the test is empty outside of tests."""
        for test, record in (*self.tests.items(), ("", self.outside)):
            for event in record.events:
                if event.kind == kind:
                    yield test, event
