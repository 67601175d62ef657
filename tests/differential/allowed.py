"""What the plugin changes in a user's process: one row for each difference that a run may show.

The differential suite fails on a difference that has no row, and on a row that no run shows.
``docs/what_it_changes.md`` is written from this table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One thing that is changed.

    Attributes:
        facts: Patterns (``fnmatch``) of what a difference is about.
        what: The name of the thing, as a reader of the page would look for it.
        why: Why it is changed, and what a user could see of it.
        runs: In which runs with the plugin it may differ.
        sessions: Pattern of the sessions in which it may differ.
    """

    facts: tuple[str, ...]
    what: str
    why: str
    runs: tuple[str, ...] = ("cold", "warm")
    sessions: str = "*"


ROWS: tuple[Row, ...] = ()
