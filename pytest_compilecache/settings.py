"""Every setting, once: its type, default, cap, names and meaning.

The plugin, the two calls, the commands and the reference read this table. It is loaded in
every pytest session, so it loads nothing else of the package. The documented variables of
servers, such as ``B10FS_CACHE_DIR``, are aliases, which sessions never read: a variable that
is meant for another tool never stops pytest.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from pytest_compilecache.errors import SettingsError

SavePolicy = Literal["auto", "always", "never"]
SAVE_POLICIES: tuple[SavePolicy, ...] = ("auto", "always", "never")
FallbackMode = Literal["eager", "fail", "skip", "xfail"]
FALLBACK_MODES: tuple[FallbackMode, ...] = ("eager", "fail", "skip", "xfail")
RunMode = Literal["compiled", "eager", "both"]
RUN_MODES: tuple[RunMode, ...] = ("compiled", "eager", "both")
Isolation = Literal["none", "limit", "test"]
ISOLATIONS: tuple[Isolation, ...] = ("none", "limit", "test")
REPORT_SUFFIXES = (".json", ".md")
INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"

MOST = 1_000_000_000
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


class Source(NamedTuple):
    """Where a value was found: how a person knows the place, and where its paths start."""

    name: str
    base: Path

    def bad(self, raw: object, remedy: str) -> SettingsError:
        """The error for a value that cannot be used."""
        from pytest_compilecache.errors import SettingsError  # noqa: PLC0415

        return SettingsError(self.name, f"{raw!r:.80} cannot be used", remedy)


class Kind(NamedTuple):
    """The type of a setting: how it is parsed, and what it may be, in words."""

    parse: Callable[[object, Source], Any]
    values: str


class Cap(NamedTuple):
    """The largest value that a number may have for servers; a variable moves it."""

    default: int
    alias: str


class Setting(NamedTuple):
    """One setting.

    Attributes:
        name: Its field in `Settings` and `ServerSettings`; the other names follow from it.
        help: What it means.
        kind: What it may be.
        default: What holds where it is not given; None where that depends on the machine.
        metavar: What its command-line option takes.
        option: Whether pytest's command line has it.
        sessions: Whether test sessions read it.
        servers: Whether the two calls and the commands read it.
        alias: The documented variable that means the same to servers.
        cap: Its cap, for servers.
        torchs: Torch's own variable, where the setting has none of ours.
    """

    name: str
    help: str
    kind: Kind
    default: Any = None
    metavar: str = ""
    option: bool = False
    sessions: bool = True
    servers: bool = False
    alias: str = ""
    cap: Cap | None = None
    torchs: str = ""

    @property
    def flag(self) -> str:
        """The option of pytest's command line."""
        return "--" + self.ini.replace("_", "-")

    @property
    def ini(self) -> str:
        """The name in pytest's configuration file."""
        return f"compilecache_{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return self.torchs or self.ini.upper()

    @property
    def cap_variable(self) -> str:
        """The environment variable that moves the cap."""
        return f"{self.variable}_CAP"


def _text(raw: object, source: Source) -> str:
    if not isinstance(raw, (str, int, os.PathLike)):
        raise source.bad(raw, "give one value")
    text = str(raw).strip()
    if "\0" in text or "\n" in text:
        raise source.bad(raw, "write it on one line")
    return text


def parse_path(raw: object, source: Source) -> Path:
    """Parse a path, relative to its source; links stay links."""
    text = _text(raw, source)
    try:
        return Path(os.path.normpath(source.base / Path(text).expanduser()))
    except RuntimeError:
        raise source.bad(text, "there is no such user; write the path out") from None


def parse_store(raw: object, source: Source) -> str:
    """Parse the place of a store: a path, or a URL as it is."""
    text = _text(raw, source)
    return text if "://" in text else str(parse_path(text, source))


def _report_file(raw: object, source: Source) -> Path:
    path = parse_path(raw, source)
    if path.suffix.lower() not in REPORT_SUFFIXES:
        raise source.bad(raw, f"let it end with one of {', '.join(REPORT_SUFFIXES)}")
    return path


def _true_or_false(raw: object, source: Source) -> bool:
    if isinstance(raw, bool):
        return raw
    text = _text(raw, source).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise source.bad(raw, "use true or false")


def _whole_number(raw: object, source: Source) -> int:
    text = _text(raw, source)
    if text.isascii() and text.isdigit() and 0 < int(text) <= MOST:
        return int(text)
    raise source.bad(raw, f"use a whole number from 1 to {MOST:,}")


def _one_of(*choices: str) -> Kind:
    values = f"one of {', '.join(choices)}"

    def parse(raw: object, source: Source) -> str:
        text = _text(raw, source).lower()
        if text in choices:
            return text
        raise source.bad(raw, f"use {values}")

    return Kind(parse, values)


_STORE = Kind(parse_store, "a folder, or its `file://` URL")
_FOLDER = Kind(parse_path, "a path")
_REPORT = Kind(_report_file, f"a path that ends with one of {', '.join(REPORT_SUFFIXES)}")
_SWITCH = Kind(_true_or_false, "true or false")
NUMBER = Kind(_whole_number, f"a whole number from 1 to {MOST:,}")


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "store",
        "The store that artifacts are restored from and saved to: a folder, or its file:// URL. "
        "A test session without one uses the workspace of this machine only.",
        _STORE,
        metavar="URL",
        option=True,
        servers=True,
        alias="B10FS_CACHE_DIR",
    ),
    Setting(
        "save",
        "Whether new artifacts are saved to the store at the end of the session. auto saves, but "
        "not in builds of code from a fork, nor where CI does not say whose code it builds.",
        _one_of(*SAVE_POLICIES),
        "auto",
        "{auto,always,never}",
        option=True,
    ),
    Setting(
        "dir",
        "The folder of the workspaces of test sessions; by default one in the user's cache folder.",
        _FOLDER,
        metavar="PATH",
        option=True,
    ),
    Setting(
        "strict",
        "Fail the session when the cache cannot do its work, instead of a warning.",
        _SWITCH,
        default=False,
        option=True,
    ),
    Setting(
        "report",
        "The file that the session's report is written to: .md for people, .json for programs.",
        _REPORT,
        metavar="PATH",
        option=True,
    ),
    Setting(
        "run",
        "How tests with the mark compiled run: compiled, eager (every torch.compile runs eager "
        "then), or both, as two items.",
        _one_of(*RUN_MODES),
        "compiled",
        "{compiled,eager,both}",
        option=True,
    ),
    Setting(
        "fallback",
        "What a failure to compile means where the test's mark does not say: the test runs eager "
        "with a warning, fails, is skipped, or is expected to fail. Where it is not given, torch "
        "decides for plain torch.compile calls, and tests with our mark or fixtures run eager.",
        _one_of(*FALLBACK_MODES),
        metavar="{eager,fail,skip,xfail}",
        option=True,
    ),
    Setting(
        "isolation",
        "What plain torch.compile calls of different tests do not share: none (all is as torch "
        "has it); limit (each test has a recompile limit of its own); test (also a state of "
        "automatic dynamic shapes of its own, so that what a test compiles does not depend on the "
        "tests before it). Tests with our mark or fixtures always have a limit of their own.",
        _one_of(*ISOLATIONS),
        "none",
        "{none,limit,test}",
        option=True,
    ),
    Setting(
        "compiler_seconds",
        "Seconds after which a C++ compiler counts as one that hangs.",
        NUMBER,
        300,
    ),
    Setting(
        "max_store_mb",
        "MiB that the store may take at any time; the oldest packs make room. By default there is "
        "no limit.",
        NUMBER,
        servers=True,
    ),
    Setting(
        "max_workspace_mb",
        "MiB that a workspace is brought down to when no other process uses it; what was used "
        "longest ago goes first.",
        NUMBER,
        10_240,
        servers=True,
        alias="MAX_WORKSPACE_SIZE_MB",
        cap=Cap(1_048_576, "MAX_WORKSPACE_SIZE_CAP_MB"),
    ),
    Setting(
        "keep_days",
        "Days after which artifacts that no session or server used are deleted.",
        NUMBER,
        30,
        servers=True,
    ),
    Setting(
        "work",
        "The folder in which servers make their workspace, as compilecache-<user id>.",
        _FOLDER,
        sessions=False,
        servers=True,
        alias="LOCAL_WORK_DIR",
    ),
    Setting(
        "inductor",
        "The folder of Inductor's cache. Test sessions use the folder that it names as well, "
        "without these conditions.",
        _FOLDER,
        sessions=False,
        servers=True,
        torchs=INDUCTOR,
    ),
    Setting(
        "max_save_mb",
        "MiB that one save may take in the store, compressed; a larger one saves nothing.",
        NUMBER,
        1024,
        sessions=False,
        servers=True,
        alias="MAX_CACHE_SIZE_MB",
        cap=Cap(1024, "MAX_CACHE_SIZE_CAP_MB"),
    ),
    Setting(
        "max_concurrent_saves",
        "How many processes may write to the store at once; the others wait.",
        NUMBER,
        50,
        sessions=False,
        servers=True,
        alias="MAX_CONCURRENT_SAVES",
        cap=Cap(100, "MAX_CONCURRENT_SAVES_CAP"),
    ),
    Setting(
        "lock_seconds",
        "Seconds that a load or a save waits for its turn. On a network file system it is also how "
        "long the owner of a turn may give no sign of life.",
        NUMBER,
        30,
        sessions=False,
        servers=True,
        alias="CLEANUP_LOCK_TIMEOUT_SECONDS",
        cap=Cap(3600, "LOCK_TIMEOUT_CAP_SECONDS"),
    ),
    Setting(
        "incomplete_seconds",
        "Seconds after which an unfinished file is deleted if it is not known whether the process "
        "that wrote it still runs.",
        NUMBER,
        60,
        sessions=False,
        servers=True,
        alias="CLEANUP_INCOMPLETE_TIMEOUT_SECONDS",
        cap=Cap(7200, "INCOMPLETE_TIMEOUT_CAP_SECONDS"),
    ),
)
SESSION_SETTINGS = tuple(each for each in SETTINGS if each.sessions)
SERVER_SETTINGS = tuple(each for each in SETTINGS if each.servers)
BY_NAME = MappingProxyType({each.name: each for each in SETTINGS})
