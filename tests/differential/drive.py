"""Runs pytest sessions one after another in this process, and writes down what a user could see.

It is started as a program (``python drive.py WHERE SESSIONS``), and is no part of what it looks at:
it imports pytest and the standard library only, torch never, and looks at what is loaded.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import json
import logging
import os
import re
import signal
import sys
import threading
import types
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

OURS = "pytest_compilecache"

# Names that a plugin for torch.compile is likely to touch, each described while the tests run
# and after the end. A patch of any other name is found by where its code lies.
WATCHED = (
    "builtins:__import__",
    "importlib:import_module",
    "os:fork",
    "subprocess:Popen.__init__",
    "subprocess:run",
    "sys:excepthook",
    "sys:unraisablehook",
    "threading:excepthook",
    "warnings:showwarning",
    "torch:compile",
    "torch:_TorchCompileInductorWrapper.__call__",
    "torch.nn.modules.module:Module.compile",
    "torch._logging:hide_warnings",
    "torch._dynamo.convert_frame:_compile",
    "torch._dynamo.convert_frame:compute_cache_size",
    "torch._dynamo.convert_frame:exceeds_recompile_limit",
    "torch._dynamo.convert_frame:first_real_inst_idx",
    "torch._dynamo.decorators:_set_stance",
    "torch._dynamo.eval_frame:_NullDecorator.__call__",
    "torch._dynamo.eval_frame:_stance",
    "torch._dynamo.utils:_compilation_metrics",
    "torch._dynamo.callback:callback_handler",
    "torch._functorch._aot_autograd.autograd_cache:AOTAutogradCache._get_tmp_dir",
    "torch._functorch._aot_autograd.autograd_cache:BypassAOTAutogradCache.__init__",
    "torch._inductor.codecache:_HEADER_DIR",
    "torch._inductor.codecache:_HEADER_LOCK_DIR",
    "torch._inductor.codecache:BypassFxGraphCache.__init__",
    "torch._inductor.codecache:FxGraphCache._get_tmp_dir",
    "torch._inductor.codecache:FxGraphCache.clear",
    "torch._inductor.codecache:FxGraphHashDetails.__init__",
    "torch._inductor.codecache:PyCodeCache.load_by_key_path",
    "torch._inductor.compile_fx:compile_fx",
    "torch._inductor.compile_fx:compile_fx_inner",
    "torch._inductor.cpp_builder:subprocess",
    "torch.utils.cpp_extension:_write_ninja_file_and_build_library",
    "hypothesis.core:execute_explicit_examples",
)
SETTINGS = (
    "torch._dynamo.config",
    "torch._functorch.config",
    "torch._inductor.config",
    "torch.compiler.config",
    "torch.fx.experimental._config",
)
NOT_COMPARED = {
    "PYTEST_ADDOPTS",
    "PYTEST_CURRENT_TEST",
    "PYTEST_VERSION",
    "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR",  # torch's, an address
}
# What a warm cache changes by its nature.
WARMTH = re.compile(
    r"cache_(hit|miss|bypass|saved)|_cache_|async_compile|triton_bundler|extern_calls"
)


# --- words for what is seen ----------------------------------------------------


class Words:
    """Texts without what differs from run to run: places, addresses, times, ids."""

    def __init__(self, places: dict[str, str]) -> None:
        self._places = sorted(places.items(), key=lambda each: -len(each[0]))
        self._said: dict[str, str] = {}  # the same settings and variables are seen at each test

    def __call__(self, text: object) -> str:
        said = str(text)
        if len(said) > 1000:
            return self._put(said)
        if said not in self._said:
            self._said[said] = self._put(said)
        return self._said[said]

    def _put(self, said: str) -> str:
        for place, name in self._places:
            said = said.replace(place, name)
        said = re.sub(r"0x[0-9a-f]{6,}|\b7f[0-9a-f]{10}\b", "0x…", said)
        # Of what Inductor and Dynamo trace for themselves: it follows what is warm.
        said = re.sub(r"(?m)^DEBUG +torch\.__trace:.*\n?", "", said)
        said = re.sub(r"(?m)^([VDIWEC])\d{4} [\d:.]+ \d+ ", r"\1 ", said)  # torch's own log lines
        said = re.sub(r"\b\d+\.\d+ ?(s|ms|us|seconds)\b", "… s", said)
        said = re.sub(r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}", "UUID", said)
        said = re.sub(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,\d]*", "…", said)
        said = re.sub(r"\b[a-z2-7]{51,52}\b|\b[0-9a-f]{32,64}\b", "KEY", said)
        return re.sub(r"\bpid[= ]\d+", "pid …", said)

    def describe(self, value: object) -> str:
        """What an object is, so that a wrapper in its place reads otherwise."""
        kind = type(value)
        if isinstance(value, (staticmethod, classmethod)):
            said = f"{kind.__name__} of {self.describe(value.__func__)}"
        elif isinstance(value, types.FunctionType):
            place = value.__code__.co_filename
            said = f"{value.__module__}.{value.__qualname__} in {self(place)}"
        elif isinstance(value, types.ModuleType):
            said = f"module {value.__name__}"
        elif isinstance(value, functools.partial):
            said = f"partial of {self.describe(value.func)}"
        elif kind.__name__ == "deque":
            said = f"deque of at most {value.maxlen}"
        elif hasattr(value, "start_callbacks"):
            said = f"{len(value.start_callbacks)} and {len(value.end_callbacks)} callbacks"
        elif isinstance(value, (int, float, str, type(None), tuple, list, dict, set)):
            said = self(repr(value))[:300]
        elif hasattr(value, "stance"):
            said = f"stance {value.stance}"
        else:
            said = f"{kind.__module__}.{getattr(value, '__qualname__', kind.__qualname__)}"
        return said


# --- looking -------------------------------------------------------------------


def owner_of(path: str) -> tuple[object, str]:
    module, _, names = path.partition(":")
    owner: object = sys.modules.get(module)
    *outer, last = names.split(".")
    for name in outer:
        owner = getattr(owner, name, None)
    return owner, last


def look(path: str) -> object:
    """The object itself, without what a descriptor makes of it."""
    owner, name = owner_of(path)
    return inspect.getattr_static(owner, name, None) if owner is not None else None


def is_ours(value: object) -> bool:
    """Whether the code of an object is the plugin's.

    By ``type`` and not ``isinstance``: some of torch's objects warn when asked for their class.
    """
    kind = type(value)
    while kind in INNER:
        value = getattr(value, INNER[kind])
        kind = type(value)
    if kind is types.FunctionType:
        return INSIDE in value.__code__.co_filename
    if kind in PLAIN:
        return False
    if issubclass(kind, type):
        return made_by_us(value)
    if made_by_us(kind):
        return True
    # What wrapt puts around a function.
    wrapper = own_names(value).get("_self_wrapper") if hasattr(kind, "__wrapped__") else None
    return wrapper is not None and is_ours(wrapper)


INSIDE = f"{os.sep}{OURS}{os.sep}"
# Of the interpreter's own: no code of others is in there. A deep look meets a million of them.
PLAIN = {
    kind
    for kind in (*vars(builtins).values(), *vars(types).values())
    if type(kind) is type and kind not in {type, object, types.FunctionType, types.MethodType}
}
INNER = {
    staticmethod: "__func__",
    classmethod: "__func__",
    types.MethodType: "__func__",
    property: "fget",
    functools.partial: "func",
}


def made_by_us(kind: type) -> bool:
    module = type.__getattribute__(kind, "__dict__").get("__module__")
    return isinstance(module, str) and module.startswith(OURS)


def own_names(value: object) -> dict[str, object]:
    try:
        return dict(vars(value))
    except Exception:  # noqa: BLE001  (objects that answer for others raise what they like)
        return {}


def patched_names() -> set[str]:
    """The names anywhere in this process, but in the plugin, that lead to its code."""
    found: set[str] = set()
    seen: set[type] = set()
    for module_name, module in list(sys.modules.items()):
        if type(module) is not types.ModuleType or module_name.startswith((OURS, "__main__")):
            continue
        for name, value in list(vars(module).items()):
            if not issubclass(type(value), type):
                if name != "__builtins__" and is_ours(value):
                    found.add(f"{module_name}.{name}")
            elif value not in seen and not made_by_us(value):
                seen.add(value)
                parts = own_names(value).items()
                path = f"{value.__module__}.{value.__qualname__}"
                found.update(f"{path}.{each}" for each, part in parts if is_ours(part))
    return found


def settings() -> dict[str, str]:
    """All values of torch's modules of settings that are loaded."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are deprecated
        for name in SETTINGS:
            module = sys.modules.get(name)
            for key in getattr(module, "_config", None) or ():
                try:
                    value = getattr(module, key)
                except Exception:  # noqa: BLE001  (an alias of a module that is not loaded)
                    continue
                if not callable(value):
                    found[f"{name}.{key}"] = repr(value)[:200]
    return found


def finders() -> list[str]:
    return [
        f"{found.__module__}.{found.__qualname__}"
        for each in sys.meta_path
        for found in [each if isinstance(each, type) else type(each)]
    ]


def open_files(words: Words) -> list[str]:
    """What this process holds open, without pipes, terminals and libraries."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        try:
            target = str(each.readlink())
        except OSError:
            continue
        if target.startswith("/") and not target.startswith(("/dev/", "/proc/")):
            found.add(words(target))
    return sorted(found)


def look_around(words: Words, *, deep: bool) -> dict[str, str]:
    """What one look at the process shows, as texts under names."""
    seen = {
        f"variable {name}": words(value)
        for name, value in os.environ.items()
        if name not in NOT_COMPARED
    }
    seen.update(look_at_watched(words))
    seen.update({f"setting {name}": words(value) for name, value in settings().items()})
    seen.update({f"finder {name}": "on sys.meta_path" for name in finders()})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        seen[f"signal {number.name}"] = words.describe(signal.getsignal(number))
    if deep:
        seen.update({f"patched {name}": f"by {OURS}" for name in patched_names()})
    return seen


def look_at_watched(words: Words) -> dict[str, str]:
    seen = {}
    for path in WATCHED:
        owner, last = owner_of(path)
        if owner is None or not hasattr(owner, last):
            continue
        value, name = look(path), path.replace(":", ".")
        if is_ours(value):
            seen[f"patched {name}"] = f"by {OURS}"
        else:
            seen[f"name {name}"] = words.describe(value)
    return seen


class Seen:
    """All values that were seen under each name while tests ran."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._tests = 0
        self.values: dict[str, set[str]] = defaultdict(set)

    def look(self, *, deep: bool = False) -> None:
        for name, value in look_around(self._words, deep=deep).items():
            self.values[name].add(value)

    def look_in_a_test(self) -> None:
        self._tests += 1
        self.look(deep=self._tests % 50 == 2)  # a deep look takes half a second


# --- a session -----------------------------------------------------------------


class Observer:
    """A plugin that writes down a session as reports and warnings show it."""

    def __init__(self, words: Words, seen: Seen) -> None:
        self._words = words
        self._seen = seen
        self.outcomes: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self.warnings: list[str] = []
        self.counters: dict[str, int] = {}
        self.frames: dict[str, list[str]] = {}
        self.stacks: list[str] = []
        self.collected: list[str] = []
        self._before: dict[str, int] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected = [item.nodeid for item in session.items]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self.outcomes[f"{report.nodeid} collect"] = self._said(report)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> object:
        self._seen.look_in_a_test()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> object:
        report = yield
        if call.excinfo is not None:
            report.differential_type = call.excinfo.typename
            report.differential_ours = our_frames(call.excinfo.traceback)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = f"{report.nodeid} {report.when}"
        self.outcomes[name] = self._said(report)
        for title, content in report.sections:
            said = anywhere(self._words(content))
            if said:
                key = f"{name}: {title}"
                self.outputs[key] = without_our_frames(said)
                if INSIDE in said:
                    self.stacks.append(key)
        if frames := getattr(report, "differential_ours", None):
            self.frames[name] = frames

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        before = counters()
        result = yield
        after = counters()
        for key in {**before, **after}:
            change = after.get(key, 0) - before.get(key, 0)
            if change < 0:  # the test cleared them
                change = after.get(key, 0)
            if change:
                title = self._words(key).partition("\n")[0]
                self.counters[f"{item.nodeid} {title}"] = change
        return result

    def pytest_warning_recorded(
        self, warning_message: warnings.WarningMessage, when: str, nodeid: str
    ) -> None:
        said = self._words(warning_message.message)
        category = warning_message.category.__name__
        self.warnings.append(f"{nodeid or 'session'} {when}: {category}: {said}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._seen.look(deep=True)

    def _said(self, report: pytest.TestReport | pytest.CollectReport) -> str:
        kind = getattr(report, "differential_type", "")
        said = ""
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            said = crash.message
        elif isinstance(report.longrepr, tuple):
            said = report.longrepr[-1]
        elif report.longrepr is not None and not report.passed:
            said = str(report.longrepr)
        wasxfail = f" (xfail: {report.wasxfail})" if hasattr(report, "wasxfail") else ""
        parts = (report.outcome + wasxfail, kind, said)
        return anywhere(self._words(" ".join(part for part in parts if part)))


def our_frames(traceback: Iterable[Any]) -> list[str]:
    """The plugin's functions among those that a test called, and not around it."""
    found: list[str] = []
    for entry in traceback:
        place = str(entry.path)
        if any(f"{os.sep}{name}{os.sep}" in place for name in ("_pytest", "pluggy")):
            found.clear()
        elif INSIDE in place:
            found.append(entry.frame.code.name)
    return found


def anywhere(said: str) -> str:
    """A text that names torch's cache folder and temporary files, wherever they lie."""
    folder = r"\$TMPDIR/torchinductor_\w+|~/\.cache/compilecache/v1/[^/\s]+/inductor"
    return re.sub(r"\btmp[a-z0-9_]{8}\b", "tmp…", re.sub(folder, "CACHE", said))


def without_our_frames(said: str) -> str:
    """A text without the lines of stacks that are the plugin's, or pytest's on the way to it."""
    around = tuple(f"{os.sep}{name}{os.sep}" for name in (OURS, "_pytest", "pluggy"))
    kept = []
    skipping = False
    for line in said.splitlines(keepends=True):
        _, frame, rest = line.partition('  File "')
        if frame:
            skipping = any(each in rest for each in around)
        elif not re.search(r"(^|\] )    ", line):
            skipping = False
        if not skipping:
            kept.append(line)
    return re.sub(r"elided \d+ frames", "elided … frames", "".join(kept))


def counters() -> dict[str, int]:
    """Dynamo's counters, without those that a warm cache moves by its nature."""
    utils = sys.modules.get("torch._dynamo.utils")
    found = {}
    for category, counts in dict(getattr(utils, "counters", {})).items():
        for name, count in dict(counts).items():
            if not WARMTH.search(f"{category}.{name}"):
                found[f"{category}.{name}"] = count
    return found


def run(arguments: list[str], words: Words) -> dict[str, object]:
    """One session."""
    seen = Seen(words)
    observer = Observer(words, seen)
    try:
        code = str(int(pytest.main(arguments, plugins=[observer])))
    except BaseException as error:  # noqa: BLE001  (whatever leaves pytest is what is compared)
        code = words(f"{type(error).__name__}: {error}")
    return {
        "exit": code,
        "collected": observer.collected,
        "outcomes": observer.outcomes,
        "outputs": observer.outputs,
        "warnings": sorted(observer.warnings),
        "counters": observer.counters,
        "frames": observer.frames,
        "stacks": observer.stacks,
        "during": {name: sorted(values) for name, values in seen.values.items()},
    }


def main(where: str, sessions: list[list[str]], places: dict[str, str]) -> None:
    """Run the sessions, and write down what they did, what was before, and what is left."""
    words = Words(places)
    # Torch's handlers keep the stream of the session that imported it, which is then closed.
    logging.raiseExceptions = False
    for name in ("torch",) if os.environ.pop("DIFFERENTIAL_PRELOAD", "") else ():
        __import__(name)
        for path in WATCHED:
            if (module := path.partition(":")[0]).startswith("torch"):
                __import__(module)
    objects = {path: look(path) for path in WATCHED if look(path) is not None}
    before = look_around(words, deep=True)
    ran = []
    for each in sessions:
        session = run(each, words)
        session["after"] = look_around(words, deep=True)
        session["replaced"] = [
            path for path, value in objects.items() if not same(value, look(path))
        ]
        session["threads"] = sorted(thread.name for thread in threading.enumerate())
        session["open"] = open_files(words)
        ran.append(session)
    home = Path.home()
    result = {
        "before": before,
        "sessions": ran,
        "folders": sorted(
            {"~/" + "/".join(path.relative_to(home).parts[:2]) for path in home.rglob("*")}
        ),
    }
    Path(where).write_text(json.dumps(result, indent=1, sort_keys=True))


def same(before: object, after: object) -> bool:
    return before is after or (isinstance(before, (str, int)) and before == after)


if __name__ == "__main__":
    # As ``python -m pytest`` would have it.
    sys.path[0] = str(Path.cwd())
    main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
