"""The form of a finding. Each stands beside the check that makes it, and the reference lists it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found about one thing.

    Attributes:
        subject: The thing.
        level: Whether it is good, worth knowing, a risk, or broken.
        finding: What was found.
        remedy: What a person can do, or empty.
    """

    subject: str
    level: Level
    finding: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that may be found.

    Attributes:
        title: Its heading in the reference.
        level: Whether it is worth knowing, a risk, or broken.
        text: What doctor prints, with facts in braces.
        remedy: What a person can do, with facts in braces, or empty.
        means: Why it matters.
    """

    title: str
    level: Level
    text: str
    remedy: str
    means: str

    def about(self, subject: str, **facts: object) -> Diagnosis:
        """The finding, of one thing."""
        text, remedy = self.text.format(**facts), self.remedy.format(**facts)
        return Diagnosis(subject, self.level, text, remedy)


def fine(subject: str, text: str) -> Diagnosis:
    """A thing that is as it should be."""
    return Diagnosis(subject, "ok", text)
