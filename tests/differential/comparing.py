"""What differs between a run with the plugin and one without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NOTHING = "(not there)"


@dataclass(frozen=True)
class Difference:
    """One fact that the plugin changes.

    Attributes:
        session: The session and, where it has several, the suite in it.
        run: ``cold`` or ``warm``.
        fact: What was looked at, such as ``outcome test_x.py::test_y call``.
    """

    session: str
    run: str
    fact: str
    without: str
    with_plugin: str

    def __str__(self) -> str:
        return (
            f"{self.session}, {self.run}: {self.fact}\n"
            f"    without: {self.without}\n    with:    {self.with_plugin}"
        )


def differences(
    name: str, run: str, without: Mapping[str, Any], with_plugin: Mapping[str, Any]
) -> Iterator[Difference]:
    """All differences of one run of a session from the run without the plugin."""
    for number, (bare, ours) in enumerate(
        zip(without["sessions"], with_plugin["sessions"], strict=True)
    ):
        part = name if len(without["sessions"]) == 1 else f"{name}[{number}]"
        pairs = [
            *_compared(_facts(bare), _facts(ours)),
            *_seen_during(bare["during"], ours["during"]),
            *_left_behind(with_plugin["before"], bare["after"], ours["after"]),
            # One thread less is no harm: what is warm imports less.
            *(
                pair
                for pair in _compared(_left_running(bare), _left_running(ours))
                if pair[2] != NOTHING
            ),
        ]
        yield from (Difference(part, run, *pair) for pair in pairs)
    folders = [
        {f"folder {path}": "made" for path in each["folders"]} for each in (without, with_plugin)
    ]
    yield from (Difference(name, run, *pair) for pair in _compared(*folders))


def _facts(session: Mapping[str, Any]) -> dict[str, str]:
    facts = {"exit code": session["exit"], "tests collected": " ".join(session["collected"])}
    for kind in ("outcome", "output", "counter"):
        facts.update({f"{kind} {key}": str(value) for key, value in session[f"{kind}s"].items()})
    facts.update(
        {
            f"traceback by {function} in {key}": "there"
            for key, functions in session["frames"].items()
            for function in functions
        }
    )
    facts.update({f"stack of {key}": "with the plugin's frames" for key in session["stacks"]})
    facts.update(
        {f"warning {key}": f"{n} times" for key, n in Counter(session["warnings"]).items()}
    )
    facts.update({f"replaced {path}": "another object afterwards" for path in session["replaced"]})
    return facts


def _left_running(session: Mapping[str, Any]) -> dict[str, str]:
    facts = {f"thread {thread}": "runs afterwards" for thread in session["threads"]}
    return {**facts, **{f"open {path}": "open afterwards" for path in session["open"]}}


def _compared(
    without: Mapping[str, str], with_plugin: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    for fact in sorted({*without, *with_plugin}):
        bare, ours = without.get(fact, NOTHING), with_plugin.get(fact, NOTHING)
        if bare != ours:
            yield fact, bare, ours


def _seen_during(
    without: Mapping[str, list[str]], with_plugin: Mapping[str, list[str]]
) -> Iterator[tuple[str, str, str]]:
    """What tests could see that they cannot see without us, or no longer see at all."""
    if not without or not with_plugin:  # no test ran in one of them, which the outcomes say
        return
    for name in sorted({*without, *with_plugin}):
        bare, ours = without.get(name, []), with_plugin.get(name, [])
        missing = not ours and name.replace("name ", "patched ", 1) not in with_plugin
        if missing or not set(ours) <= set(bare):
            yield f"during {name}", " | ".join(bare) or NOTHING, " | ".join(ours) or NOTHING


def _left_behind(
    before: Mapping[str, str], without: Mapping[str, str], with_plugin: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """What is neither as it was before the session nor as the session leaves it without us."""
    for name in sorted({*before, *without, *with_plugin}):
        ours, bare = with_plugin.get(name, NOTHING), without.get(name, NOTHING)
        if ours not in (bare, before.get(name, NOTHING)):
            yield f"after {name}", bare, ours
