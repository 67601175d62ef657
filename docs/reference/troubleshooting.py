"""The page of what may be wrong: all that doctor can find, and the classes of warnings."""

from __future__ import annotations

import inspect
import re

from blocks import code, page, paragraphs, table

from pytest_compilecache import errors
from pytest_compilecache.doctor import machine, software
from pytest_compilecache.doctor.findings import Finding, Level

_INTRODUCTION = """
```sh
pip install 'pytest-compilecache[cli]'
compilecache doctor
```

looks for what would slow down, break or endanger the cache on a machine, and says what to do. All
that it can find stands below, with … in place of names and numbers. It exits with 1 when something
is broken. `compilecache check` reads a store to its last byte, and `compilecache info` shows what
is in force and where each setting comes from.

An error of the cache fails no test: it is one warning with the reason and the remedy, and the
session runs on as if there were no cache. `--compilecache-strict` makes it fail.
"""
_GROUPS: tuple[tuple[Level, str], ...] = (
    ("error", "What is broken"),
    ("warning", "What is a risk"),
    ("note", "What is worth knowing"),
)
_COLD = """
## A session that should be warm and is not

The summary names the reason. The usual ones:

- **the store holds nothing for this environment; the nearest one differs: …** The store was
  filled by another torch, compiler or processor, and the field is named. Pin the image, or let each
  kind of machine fill the store once. [The environment](caching.md#the-environment) has all fields.
- **nothing was saved: …** `--compilecache-save=auto` does not save in builds of code from a fork,
  nor where CI does not say whose code it builds. Give `always` in the builds that should save.
- **could not be cached: …** Torch keeps no entry for these graphs, however often they are compiled.
- **healed: …** A process was killed while it wrote. What was torn is compiled again, once.
- None of these, and a store was added: it makes the session set
  `TORCHINDUCTOR_CPP_DYNAMIC_THREADS=1`, which is in torch's keys. Only the first session is cold.
"""
_WARNINGS = """
Each warning and each error has a class of its own, so that
[pytest's filters](https://docs.pytest.org/en/stable/how-to/capture-warnings.html) can tell them
apart: `-W error::pytest_compilecache.errors.CompileFallbackWarning` fails what ran eager. An error
has a `subject`, a `reason` and a `remedy`.
"""


def troubleshooting_page() -> str:
    """The page."""
    groups = []
    for level, title in _GROUPS:
        groups.append(f"## {title}")
        groups += [
            _finding(each)
            for each in (*software.FINDINGS, *machine.FINDINGS)
            if each.level == level
        ]
    return page(
        "Troubleshooting",
        _INTRODUCTION,
        _COLD,
        *groups,
        "## Warnings and errors",
        _WARNINGS,
        table(("class", "meaning"), _classes()),
    )


def _finding(finding: Finding) -> str:
    text, remedy = _blanks(finding.text), _blanks(finding.remedy)
    says = f"{text} ({remedy})" if remedy.strip("…") else text
    quoted = f"> {says}" if says.strip("…") else ""
    return "\n\n".join(part for part in (f"### {finding.title}", quoted, finding.means) if part)


def _blanks(text: str) -> str:
    """A text whose facts are not known yet."""
    return re.sub(r"\{[^}]*\}", "…", text)


def _classes() -> list[tuple[str, str]]:
    found = [
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if each.__module__ == errors.__name__
    ]
    found.sort(key=lambda each: not issubclass(each, Warning))
    return [(code(each.__name__), _summary(each)) for each in found]


def _summary(documented: type) -> str:
    return paragraphs(documented.__doc__ or "").split("\n\n", maxsplit=1)[0].replace("\n", " ")
