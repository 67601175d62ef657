from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import pytest

from pytest_compilecache.workspace.place import Workspace, choose_workspace
from pytest_compilecache.workspace.usage import UsageLog

LONG_AGO = 1_000_000_000_000_000_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = choose_workspace(tmp_path / "root", "torch-1", None)
    workspace.prepare("torch-1")
    return workspace


@pytest.fixture
def log(workspace: Workspace):
    log = UsageLog(workspace)
    log.start()
    yield log
    log.stop()


def put(folder: Path, name: str, content: bytes = b"x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO + 7))
    return path


def times(path: Path) -> tuple[int, int]:
    return path.stat().st_atime_ns, path.stat().st_mtime_ns


def was_used(path: Path) -> bool:
    used, modified = times(path)
    assert modified == LONG_AGO + 7  # the time of change tells whole files from changed ones
    return used > LONG_AGO + 10**15


def set_back(*paths: Path) -> None:
    """Undo what the file system itself noted of a read."""
    for path in paths:
        os.utime(path, ns=(LONG_AGO, LONG_AGO + 7))


def test_opened_artifact_is_used_at_the_time_of_the_flush(log: UsageLog, workspace: Workspace):
    read, unread = (put(workspace.inductor, f"ab/{name}.py") for name in ("read", "unread"))
    header = put(workspace.headers, "c1.h.gch")
    read.read_bytes()
    header.read_bytes()
    set_back(read, header)
    before = time.time_ns()
    assert log.flush() == 2
    assert times(read)[0] >= before
    assert (was_used(read), was_used(unread), was_used(header)) == (True, False, True)


def test_flush_forgets(log: UsageLog, workspace: Workspace):
    put(workspace.inductor, "ab/c1.py").read_bytes()
    assert (log.flush(), log.flush()) == (1, 0)


def test_use_while_the_log_rests_is_not_noted(log: UsageLog, workspace: Workspace):
    early, late = (put(workspace.inductor, f"ab/{name}") for name in ("early", "late"))
    early.read_bytes()
    log.stop()
    late.read_bytes()
    set_back(early, late)
    assert log.flush() == 1
    assert (was_used(early), was_used(late)) == (True, False)
    log.start()
    late.read_bytes()
    assert log.flush() == 1


def test_files_elsewhere_and_files_written_are_nobodys_use(
    log: UsageLog, workspace: Workspace, tmp_path: Path
):
    put(tmp_path, "elsewhere").read_bytes()
    put(workspace.state, "whole.json").read_bytes()
    put(tmp_path, "root/v1/torch-1/inductor-of-others/c1.py").read_bytes()
    for mode in ("wb", "ab", "r+b"):
        with (workspace.inductor / "made").open(mode):
            pass
    with open(os.open(workspace.inductor / "made", os.O_RDONLY)):  # noqa: PTH123
        pass
    assert log.flush() == 1  # the last line


def test_loaded_library_is_used(log: UsageLog, workspace: Workspace):
    library = put(workspace.inductor, "ab/c1.main.so", Path(ctypes.__file__).read_bytes())
    with pytest.raises(OSError, match=r"c1\.main\.so"):
        ctypes.CDLL(str(library))
    set_back(library)
    assert log.flush() == 1
    assert was_used(library)


def test_imported_extension_module_is_used(log: UsageLog, workspace: Workspace):
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    library = put(workspace.inductor, f"ab/c1{suffix}", b"no library")
    spec = importlib.util.spec_from_file_location("c1", library)
    assert spec is not None
    with pytest.raises(ImportError):
        importlib.util.module_from_spec(spec)
    set_back(library)
    assert log.flush() == 1
    assert was_used(library)


def test_what_torch_only_looks_for_is_used_when_it_takes_its_lock(
    log: UsageLog, workspace: Workspace
):
    probe, source = (put(workspace.inductor, f"pr/cprobe.{kind}") for kind in ("so", "cpp"))
    header = put(workspace.headers, "cheader.h.gch")
    others = [
        put(workspace.inductor, "pr/cpro.so"),
        put(workspace.inductor, "xx/cprobe.so"),
        put(workspace.headers, "cheader2.h.gch"),
    ]
    for area, key in ((workspace.inductor, "cprobe"), (workspace.headers, "cheader")):
        lock = area / "locks" / f"{key}.lock"
        lock.parent.mkdir()
        os.close(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    assert log.flush() == 3
    assert [was_used(path) for path in (probe, source, header, *others)] == [True] * 3 + [False] * 3


def test_files_that_are_gone_cost_nothing(log: UsageLog, workspace: Workspace):
    gone = put(workspace.inductor, "ab/gone.py")
    gone.read_bytes()
    gone.unlink()
    (workspace.inductor / "locks").mkdir()
    os.close(os.open(workspace.inductor / "locks" / "cgone.lock", os.O_RDWR | os.O_CREAT))
    assert log.flush() == 0


def test_link_is_marked_and_not_what_it_leads_to(
    log: UsageLog, workspace: Workspace, tmp_path: Path
):
    theirs = put(tmp_path, "theirs")
    link = workspace.inductor / "ab" / "link"
    link.parent.mkdir()
    link.symlink_to(theirs)
    link.read_bytes()
    set_back(theirs)
    assert log.flush() == 1
    assert times(theirs)[0] == LONG_AGO


def test_file_opened_during_a_flush_is_marked_by_it_or_the_next(
    log: UsageLog, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    early = [put(workspace.inductor, f"ab/c{number}") for number in range(3)]
    late = put(workspace.inductor, "ab/late")
    utime = os.utime

    def opening(*words: object, **options: object) -> None:
        late.read_bytes()
        monkeypatch.undo()
        utime(*words, **options)

    for path in early:
        path.read_bytes()
    monkeypatch.setattr(os, "utime", opening)
    assert log.flush() + log.flush() == 4


@pytest.mark.parametrize(
    "arguments", [(), (None,), (3, "r", 0), (b"/x", "r", 0), ("{}",), ("{}", "r", None)]
)
@pytest.mark.parametrize("event", ["open", "import", "ctypes.dlopen"])
def test_strange_events_of_others_do_not_fail(
    event: str, arguments: tuple[object, ...], log: UsageLog, workspace: Workspace
):
    inside = str(workspace.inductor / "ab")
    sys.audit(event, *(inside if each == "{}" else each for each in arguments))


def test_threads_that_open_files_meanwhile_lose_nothing(log: UsageLog, workspace: Workspace):
    paths = [put(workspace.inductor, f"ab/c{number}") for number in range(400)]
    readers = [
        threading.Thread(target=lambda part=part: [path.read_bytes() for path in paths[part::4]])
        for part in range(4)
    ]
    for reader in readers:
        reader.start()
    marked = 0
    while any(reader.is_alive() for reader in readers):
        marked += log.flush()
    for reader in readers:
        reader.join()
    assert marked + log.flush() == 400


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("object.__getattr__", (object(), "name")),
        ("os.listdir", ("/",)),
        ("import", ("json", None, [], [], [])),
        ("open", ("/usr/lib/python3/json/__init__.py", "r", os.O_RDONLY)),
        ("open", (3, "r", os.O_RDONLY)),
    ],
)
def test_unrelated_event_costs_less_than_a_microsecond(event: str, arguments: tuple[object, ...]):
    program = f"""
import sys, timeit
from pathlib import Path
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.usage import UsageLog
def seconds():
    return min(timeit.repeat(lambda: sys.audit({event!r}, *arguments), number=1000, repeat=200))
arguments = {tuple("x" if type(each) is object else each for each in arguments)!r}
before = seconds()
root = Path("/home/somebody/.cache/compilecache/v1/torch-2.13-linux-x86_64-0123456789abcdef")
UsageLog(Workspace(root, root / "inductor", root / "headers")).start()
print((seconds() - before) / 1000)
"""
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert float(said.stdout) < 1e-6


def test_listening_imports_no_torch():
    program = (
        "import sys; import pytest_compilecache.workspace.usage; "
        "import pytest_compilecache.workspace.evict; "
        "print([name for name in sys.modules if name.split('.')[0] in {'torch', 'pytest'}])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"
