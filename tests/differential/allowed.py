"""What the plugin changes in a user's process: one row for each difference that a run may show.

The differential suite fails on a difference that has no row, and on a row that no run shows.
``docs/what_it_changes.md`` is written from this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.differential.comparing import Difference

PAGE = Path(__file__).parents[2] / "docs" / "what_it_changes.md"


@dataclass(frozen=True)
class Row:
    """One thing that is changed.

    Attributes:
        what: The name of the thing, as a reader of the page looks for it.
        why: Why it is changed, and what a user could see of it.
        facts: Patterns (``fnmatch``) of what a difference is about.
        runs: In which runs with the plugin it may differ.
        sessions: Pattern of the sessions in which it may differ.
    """

    what: str
    why: str
    facts: tuple[str, ...]
    runs: tuple[str, ...] = ("cold", "warm")
    sessions: str = "*"


VARIABLES = (
    Row(
        "`TORCHINDUCTOR_CACHE_DIR`",
        "Where torch keeps what it compiles: the workspace of this environment, from the import "
        "of torch on. Where you set it, also in a conftest before torch, it stays yours.",
        ("during variable TORCHINDUCTOR_CACHE_DIR",),
    ),
    Row(
        "`TORCHINDUCTOR_CPP_DYNAMIC_THREADS`",
        "Set to 1 where a store is in force, so that machines with other numbers of cores share "
        "kernels. Generated code asks for the number of threads when it runs.",
        (
            "during variable TORCHINDUCTOR_CPP_DYNAMIC_THREADS",
            "during setting torch._inductor.config.cpp.dynamic_threads",
        ),
        sessions="deleted_cache",
    ),
    Row(
        "`COMPILECACHE_SESSION`",
        "Says to xdist's workers and to child processes which session they belong to.",
        ("during variable COMPILECACHE_SESSION",),
    ),
    Row(
        "`COMPILECACHE_APPLIED`",
        "Lists the variables above that the plugin set, so that a child process does not take "
        "them for yours.",
        ("during variable COMPILECACHE_APPLIED",),
    ),
)
FOLDERS = (
    Row(
        "`~/.cache/compilecache`",
        "The workspace: what torch compiles is kept there between sessions "
        "([where else](settings.md)). It is made when torch is imported, and never by "
        "`--collect-only`.",
        ("folder ~/.cache", "folder ~/.cache/compilecache"),
    ),
    Row(
        "`torch._inductor.codecache._HEADER_DIR`, `_HEADER_LOCK_DIR`",
        "Precompiled headers are kept in the workspace too: torch builds them for seconds in each "
        "new temporary folder.",
        (
            "during name torch._inductor.codecache._HEADER_DIR",
            "during name torch._inductor.codecache._HEADER_LOCK_DIR",
        ),
    ),
)
NAMES = (
    Row(
        "the first entry of `sys.meta_path`",
        "Sees torch being imported, to set the variables before it and the names below after it. "
        "It finds no modules itself.",
        ("during finder pytest_compilecache.*",),
    ),
    Row(
        "`FxGraphHashDetails.__init__`",
        "Adds to torch's cache keys what they lack and what decides whether code may be used: the "
        "vector instructions that torch picked, and the attention kernels that are forbidden.",
        ("during patched torch._inductor.codecache.FxGraphHashDetails.__init__",),
    ),
    Row(
        "`FxGraphCache._get_tmp_dir`, `AOTAutogradCache._get_tmp_dir`",
        "Entries whose keys have these parts lie in a folder of their own, `guarded/`: processes "
        "without the plugin that share the folder neither find nor leave any there.",
        (
            "during patched *.FxGraphCache._get_tmp_dir",
            "during patched *.AOTAutogradCache._get_tmp_dir",
        ),
    ),
    Row(
        "`BypassFxGraphCache.__init__`, `BypassAOTAutogradCache.__init__`",
        "Note why a graph could not be cached. The exceptions are raised and handled as before.",
        (
            "during patched *.BypassFxGraphCache.__init__",
            "during patched *.BypassAOTAutogradCache.__init__",
        ),
    ),
    Row(
        "`convert_frame._compile`, `exceeds_recompile_limit`, `compute_cache_size`, "
        "`first_real_inst_idx`",
        "Count what was compiled, and notice what runs eager, for the report. For plain "
        "`torch.compile` their results are torch's.",
        ("during patched torch._dynamo.convert_frame.*",),
    ),
    Row(
        "a frame named `watched` in tracebacks",
        "Stands between torch's frames where compiling fails, and in the stacks that torch logs: "
        "it is what wraps `convert_frame._compile`. Exceptions, causes and messages are torch's.",
        ("traceback by watched in *", "stack of *"),
    ),
    Row(
        "a frame named `example` in tracebacks of `@given` tests",
        "Each example of hypothesis is a test of its own for the report.",
        ("traceback by example in *",),
    ),
    Row(
        "`decorators._set_stance`, `eval_frame._callback_from_stance`, "
        "`eval_frame._NullDecorator.__call__`",
        "Notice stances and `disable` settings under which code runs eager, for the report.",
        (
            "during patched torch._dynamo.decorators._set_stance",
            "during patched torch._dynamo.eval_frame._NullDecorator.__call__",
            "during patched torch._dynamo.eval_frame._callback_from_stance",
        ),
    ),
    Row(
        "`torch.nn.Module.compile`",
        "Notices modules that were asked to compile themselves and in which nothing compiled ran, "
        "for the report.",
        ("during patched torch.nn.modules.module.Module.compile",),
    ),
)
OUTCOMES = (
    Row(
        "a test that asserts a miss, or reads generated code",
        "It passes cold and fails once the cache is warm, as with a cache folder of torch's "
        "own that is kept. Ask for a fresh cache in such a test: torch's `fresh_cache`, or the "
        "fixture `fresh_compile_cache`.",
        ("outcome test_warmth.py::*", "output test_warmth.py::*", "exit code"),
        runs=("warm",),
        sessions="inductor",
    ),
    Row(
        "a test that deletes torch's cache folder",
        "Torch keeps precompiled headers in that folder and remembers that they are there, so "
        "every later compile of the process fails. With the plugin they lie in a folder beside it, "
        "and later tests compile.",
        (
            "exit code",
            "outcome test_deleted_cache.py::*",
            "output test_deleted_cache.py::*",
            "counter test_deleted_cache.py::*",
        ),
        sessions="deleted_cache",
    ),
    Row(
        "the summary on the terminal",
        "A session in which something was compiled ends with what was warm and what was cold. Seen "
        "here in what a session within a test prints.",
        ("output test_nested_sessions.py::test_session_by_main *: Captured stdout call",),
        sessions="one_after_another",
    ),
)
SECTIONS = (
    (
        "Variables",
        "Seen in `os.environ` while tests run, and by child processes. They end with the session.",
        VARIABLES,
    ),
    ("Folders", "These stay: they are the cache.", FOLDERS),
    (
        "Names of torch and of Python",
        "Each is put back at the end of the session, the same object as before.",
        NAMES,
    ),
    (
        "Outcomes and output",
        "No outcome but for warmth itself, and for one failure of torch's own.",
        OUTCOMES,
    ),
)
ROWS: tuple[Row, ...] = tuple(row for _, _, rows in SECTIONS for row in rows)

HEAD = """\
# What it changes

Installing the plugin changes no outcome, no warning and no counter of a test that uses neither its
mark nor its fixtures; hits and misses of the cache are what it is for. What it does change in a
process while a session runs is listed here, all of it. `-p no:compilecache` turns it off.

The list is checked: `tests/differential` runs {suites} small test suites (errors that are expected,
recompile limits, stances, log captures, mocks of torch's internals, threads, forks, sessions in
sessions and more) without the plugin, with it, and with it once more, and compares outcomes,
exceptions, captured output, warnings, Dynamo's counters, variables, settings, every name in the
process that leads to the plugin's code, and what is left afterwards. A difference that is not in
these tables fails, and so does a row that no run shows. This page is written from the table of the
tests: `python -m tests.differential.allowed`.
"""
TAIL = """\
## What cannot be undone

Python's audit hooks (PEP 578) cannot be removed, so one stays until the process ends. It listens to
`open` and `subprocess.Popen` to learn which artifacts are used and what is built, and does nothing
after the session.
"""


def row_of(difference: Difference) -> Row | None:
    """The row that allows a difference."""
    session = difference.session.partition("[")[0]
    for row in ROWS:
        if (
            difference.run in row.runs
            and fnmatchcase(session, row.sessions)
            and any(fnmatchcase(difference.fact, pattern) for pattern in row.facts)
        ):
            return row
    return None


def page() -> str:
    """The page of the documentation."""
    parts = [HEAD.format(suites=count_of_suites())]
    for title, text, rows in SECTIONS:
        table = [f"| {row.what} | {row.why} |" for row in rows]
        parts.append(
            "\n".join([f"## {title}\n", text, "", "| what | why |", "|---|---|", *table, ""])
        )
    parts.append(TAIL)
    return "\n".join(parts)


def count_of_suites() -> int:
    """How many files of tests the corpus has."""
    return len(list(Path(__file__).with_name("corpus").rglob("test_*.py")))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
