"""An environment's folder that this user may not list: the others are served, and it is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.cache import save
from pytest_compilecache.environment import Environment
from pytest_compilecache.limits import DAY
from pytest_compilecache.store import open_store
from pytest_compilecache.store.base import PartlyListedError
from pytest_compilecache.workspace.place import Workspace

NOBODY = 65534
HIDDEN, SHOWN = Environment({"torch": "1.0"}), Environment({"torch": "1.1"})
# Root may list everything, so there the command becomes somebody else. What it loads it
# loads before, from folders that may be root's alone.
COMMAND = """
import os, sys
import pytest_compilecache.cache, pytest_compilecache.cli.stores
from pytest_compilecache.cli import main
main(["check", "--store", sys.argv[-1], "--json"])  # which loads the rest
sys.stdout.flush()
print("---", flush=True)
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def store() -> Iterator[Path]:
    """A store of two environments, all of whose packs are old."""
    # Pytest's own folders are private to this user.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        store = Path(folder, "store")
        for environment in (HIDDEN, SHOWN):
            root = Path(folder, environment.fields["torch"])
            workspace = Workspace(root, root / "inductor", root / "headers")
            workspace.prepare(environment.id)
            (workspace.inductor / "ab").mkdir()
            (workspace.inductor / "ab" / "kernel.h").write_bytes(b"kernel" * 100)
            assert save(workspace, environment, str(store)).files == 1
        for file in store.glob("v1/*/**/*"):
            os.utime(file, (time.time() - 99 * DAY,) * 2)
        yield store
        for each in store.rglob("*"):
            each.chmod(0o700)


def hide(store: Path, *below: str) -> Path:
    """Let nobody list a folder of one environment."""
    folder = store.joinpath("v1", HIDDEN.id, *below)
    if os.getuid() == 0:
        for each in (store, *store.rglob("*")):
            os.chown(each, NOBODY, NOBODY)
        os.chown(folder, 0, 0)
        folder.chmod(0o700)
    else:
        folder.chmod(0)
    return folder


def run(store: Path, *words: str) -> tuple[int, Any]:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words, "--json", "--store", str(store)],
        env={"PATH": os.environ["PATH"], "TMPDIR": "/tmp", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout.partition("---\n")[2])


def packs(store: Path) -> set[str]:
    return {file.parent.parent.name for file in store.rglob("*.pack")}


BELOW = pytest.mark.parametrize("below", [(), ("packs",)], ids=["environment", "its packs"])


@BELOW
def test_check_reads_the_others_and_is_not_complete(store: Path, below: tuple[str, ...]):
    hide(store, *below)
    code, facts = run(store, "check")
    assert (code, facts["ok"], facts["packs"]) == (1, False, 1)
    (finding,) = facts["findings"]
    assert finding["key"] == f"v1/{HIDDEN.id}"
    assert finding["reason"] == "it was not checked: permission was refused"
    assert "give this user access" in finding["remedy"]


@BELOW
def test_prune_deletes_what_it_may_and_leaves_the_hidden_whole(store: Path, below: tuple[str, ...]):
    folder = hide(store, *below)
    code, facts = run(store, "prune")
    assert (code, facts["unlisted"], facts["kept"]) == (1, [f"v1/{HIDDEN.id}"], 0)
    (trouble,) = facts["troubles"]
    assert HIDDEN.id in trouble
    assert "permission was refused" in trouble
    assert all(SHOWN.id in key for key in facts["deleted"])
    folder.chmod(0o700)
    assert packs(store) == {HIDDEN.id}
    # Without its packs it would look like one that nobody needs any more.
    assert (store / "v1" / HIDDEN.id / "environment.json").exists()


def test_once_it_can_be_listed_all_is_pruned(store: Path):
    hide(store).chmod(0o755)
    if os.getuid() == 0:
        os.chown(store / "v1" / HIDDEN.id, NOBODY, NOBODY)
    code, facts = run(store, "prune")
    assert (code, facts["unlisted"], facts["troubles"]) == (0, [], [])
    assert packs(store) == set()


def test_listing_tells_what_was_refused_and_has_the_rest(
    store: Path, monkeypatch: pytest.MonkeyPatch
):
    """As any other trouble with one folder does, such as a bad sector."""
    scandir = os.scandir

    def refusing(folder: Any) -> Any:
        if Path(folder).name == HIDDEN.id:
            raise OSError(5, "Input/output error", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PartlyListedError, match="Input/output error") as caught:
        open_store(str(store)).list("")
    assert list(caught.value.refused) == [f"v1/{HIDDEN.id}"]
    assert {each.key.split("/")[1] for each in caught.value.listing} == {SHOWN.id}
    with pytest.raises(OSError, match="Input/output error"):
        open_store(str(store)).list(f"v1/{HIDDEN.id}")
