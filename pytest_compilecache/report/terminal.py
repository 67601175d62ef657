"""The summary at the end of a session: one line when all is warm, the culprits when not.

It makes lines; whoever has a terminal prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_compilecache.cache import CacheResult, Trouble
from pytest_compilecache.compiling.events import CompileRecord, EventKind
from pytest_compilecache.report.figures import SessionFigures

Tone = Literal["good", "plain", "bad"]
_SLOWEST = 10
_MOST = 10

_CULPRITS: tuple[tuple[EventKind, str], ...] = (
    ("bypass", "could not be cached"),
    ("fallback", "did not compile and ran eager"),
    ("limit", "reached the recompile limit and ran eager"),
    ("skip", "ran eager, because Dynamo skipped it"),
    ("disabled", "ran eager, because compiling was turned off"),
    ("repair", "libraries in the cache"),
    ("isa", "vector instructions"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the summary."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the session did with the store.

    Attributes:
        restored: How the restore ended, if there was one.
        saved: How the save ended, if there was one.
        unsaved: Why nothing was saved although there is a store, or empty.
        store: The store, if there is one.
        troubles: What went wrong.
        one_way: Tests that were to run both ways and could not.
    """

    restored: CacheResult | None = None
    saved: CacheResult | None = None
    unsaved: str = ""
    store: str | None = None
    troubles: tuple[Trouble, ...] = ()
    one_way: tuple[str, ...] = ()


def summary(figures: SessionFigures, outcome: Outcome) -> list[Line]:
    """The lines of the summary, none when there is nothing to tell."""
    lines = [Line(f"warning: {trouble}", "bad") for trouble in outcome.troubles]
    lines += _healed(outcome)
    lines += _one_way(outcome)
    if not figures.compiled:
        return lines
    lines.append(_verdict(figures, outcome))
    lines += _slowest(figures)
    lines += _elsewhere(figures, outcome)
    for kind, title in _CULPRITS:
        lines += _culprits(figures, kind, title)
    lines += _stored(figures, outcome)
    return lines


def _verdict(figures: SessionFigures, outcome: Outcome) -> Line:
    all_of_it = figures.sum
    what = f"{_number(all_of_it.count('hit'), 'hit')}, {_number(all_of_it.builds, 'build')}"
    asked = f"; {_number(figures.fresh, 'test')} cold on request" if figures.fresh else ""
    if figures.warm:
        tests = _number(len(figures.expected), "compiled test")
        if not figures.expected:
            tests = "all that was compiled outside of tests"
        saved = f"{_seconds(all_of_it.seconds_saved)} of compiling saved"
        return Line(f"warm: {tests}, {what}, {saved}{_origin(outcome)}{asked}", "good")
    if not all_of_it.compiled:
        return Line(f"nothing was compiled{asked.replace(';', ' but')}")
    if not (all_of_it.count("hit") or all_of_it.count("miss") or all_of_it.builds):
        graphs = _number(all_of_it.graphs, "graph")
        return Line(f"nothing came from the cache or went into it: {graphs} captured{asked}")
    if not (figures.cold() or figures.outside.built or figures.outside.count("miss")):
        return _nothing_cold(figures, f"{what}{_origin(outcome)}{asked}")
    cold = f"{len(figures.cold())} of {_number(len(figures.expected), 'compiled test')} cold"
    if not figures.cold():
        cold = "what was compiled outside of tests"
    return Line(
        f"not warm: {cold}, "
        f"{_number(all_of_it.count('miss'), 'miss', 'misses')}, {what}, "
        f"{_seconds(all_of_it.seconds)} spent compiling{_origin(outcome)}{asked}",
        "bad" if _eager(all_of_it) else "plain",
    )


def _nothing_cold(figures: SessionFigures, what: str) -> Line:
    """The verdict where nothing had to be built, and still not all came from the cache."""
    record = figures.sum
    kinds: tuple[tuple[EventKind, str], ...] = (
        ("bypass", "not cacheable"),
        ("fallback", "eager after a failure to compile"),
        ("limit", "eager past a recompile limit"),
    )
    counts = [f"{record.count(kind)} {words}" for kind, words in kinds if record.count(kind)]
    tests = _number(len(figures.expected), "compiled test")
    tone: Tone = "bad" if _eager(record) else "plain"
    return Line(f"nothing cold in {tests}: {what}; {', '.join(counts) or 'no hit'}", tone)


def _eager(record: CompileRecord) -> bool:
    return bool(record.count("fallback") or record.count("limit"))


def _origin(outcome: Outcome) -> str:
    restored = outcome.restored
    if restored is None or not restored.files:
        return ""
    return f" (restored {_amount(restored)} in {_seconds(restored.seconds)})"


def _slowest(figures: SessionFigures) -> Iterator[Line]:
    cold = figures.cold()
    if not cold:
        if figures.outside.built or figures.outside.count("miss"):
            yield Line(f"cold outside of tests: {_work(figures.outside)}")
        return
    yield Line("slowest cold tests:")
    for test, record in cold[:_SLOWEST]:
        yield Line(f"  {record.seconds:7.2f} s  {test}  ({_work(record)})")
    if len(cold) > _SLOWEST:
        yield Line(f"  … and {len(cold) - _SLOWEST} more")


def _elsewhere(figures: SessionFigures, outcome: Outcome) -> Iterator[Line]:
    if outcome.restored is not None and outcome.restored.explanation and not figures.warm:
        yield Line(
            "the store holds nothing for this environment; the nearest one differs: "
            + outcome.restored.explanation
        )


def _work(record: CompileRecord) -> str:
    misses = _number(record.count("miss"), "miss", "misses")
    return f"{misses}, {_number(record.builds, 'build')}"


def _culprits(figures: SessionFigures, kind: EventKind, title: str) -> Iterator[Line]:
    tests: dict[str, list[str]] = {}
    for test, event in figures.events(kind):
        reason = ": ".join(part for part in (event.function, event.reason) if part)
        tests.setdefault(reason or "no reason given", []).append(test)
    if not tests:
        return
    yield Line(f"{title}:", "plain" if kind == "bypass" else "bad")
    for reason, names in list(tests.items())[:_MOST]:
        yield Line(f"  {_names(names)}{reason}")
    if len(tests) > _MOST:
        yield Line(f"  … and {len(tests) - _MOST} more reasons")


def _names(tests: Iterable[str]) -> str:
    names = list(dict.fromkeys(test for test in tests if test))
    if not names:
        return ""
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{others}: "


def _healed(outcome: Outcome) -> Iterator[Line]:
    results = (outcome.restored, outcome.saved)
    torn = [file for result in results if result for file in result.torn]
    if torn:
        first = f"{torn[0].path}: {torn[0].reason}"
        more = f" and {len(torn) - 1} more" if len(torn) > 1 else ""
        files = _number(len(torn), "file")
        killed = any(result.killed for result in results if result)
        by = " left torn by a killed process" if killed else " torn"
        yield Line(f"healed: {files}{by}, now in quarantine ({first}{more})")


def _one_way(outcome: Outcome) -> Iterator[Line]:
    if outcome.one_way:
        tests = _number(len(outcome.one_way), "test")
        names = _names(outcome.one_way).removesuffix(": ")
        yield Line(f"{tests} ran compiled only, for pytest cannot run them both ways: {names}")


def _stored(figures: SessionFigures, outcome: Outcome) -> Iterator[Line]:
    saved = outcome.saved
    if saved is not None and saved.packs:  # also where not all could be saved
        # Files that no test here accounts for come from processes of the tests' own, or
        # from sessions that had no store.
        source = " compiled elsewhere," if figures.warm and saved.files > saved.refreshed else ""
        yield Line(
            f"saved {_amount(saved)}{source} to {outcome.store} in {_seconds(saved.seconds)}",
            "good",
        )
    elif outcome.unsaved and not figures.warm:
        yield Line(f"nothing was saved: {outcome.unsaved}")


def _amount(result: CacheResult) -> str:
    return f"{_number(result.files, 'file')}, {result.bytes / 1e6:.1f} MB,"


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"
