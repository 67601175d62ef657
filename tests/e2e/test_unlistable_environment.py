"""An environment's folder that this user may not list: the others are served, and it is named."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
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
# Linux's numbers, of prctl.h and capability.h.
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """A store of two environments, all of whose packs are old."""
    store = tmp_path / "store"
    for environment in (HIDDEN, SHOWN):
        root = tmp_path / environment.fields["torch"]
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
    """Let this user not list a folder of one environment."""
    folder = store.joinpath("v1", HIDDEN.id, *below)
    give_away(folder)
    return folder


def give_away(place: Path) -> None:
    """Make it another user's alone, as far as we can."""
    if os.getuid() == 0:
        os.chown(place, NOBODY, NOBODY)
        place.chmod(0o700)
    else:
        place.chmod(0)


def become_like_others() -> None:
    """From the next program on, permissions hold for root as well."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if os.getuid() == 0 and prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "root cannot give up what it may do")


def run(store: Path, *words: str) -> tuple[int, Any]:
    place = [] if words[0] == "merge" else ["--store"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest_compilecache", *words, "--json", *place, str(store)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=become_like_others,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


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


def test_prune_that_may_not_delete_says_so_and_ends_with_1(store: Path):
    folder = store / "v1" / HIDDEN.id / "packs"
    give_away(folder)
    folder.chmod(0o555)
    code, facts = run(store, "prune")
    (pack,) = folder.iterdir()
    assert (code, facts["undeleted"]) == (1, [str(pack.relative_to(store))])
    assert any("permission was refused" in trouble for trouble in facts["troubles"])
    assert packs(store) == {HIDDEN.id}


@BELOW
def test_ls_lists_the_others_and_names_it(store: Path, below: tuple[str, ...]):
    hide(store, *below)
    code, facts = run(store, "ls")
    assert (code, facts["unlisted"]) == (1, [f"v1/{HIDDEN.id}"])
    assert [each["id"] for each in facts["environments"]] == [SHOWN.id]
    assert "permission was refused" in facts["troubles"][0]


def test_ls_of_an_environment_goes_on_past_a_pack_that_it_may_not_read(store: Path):
    (pack,) = (store / "v1" / SHOWN.id / "packs").iterdir()
    give_away(pack)
    code, facts = run(store, "ls", SHOWN.id)
    (row,) = facts["packs"]
    assert (code, row["name"], row["files"]) == (1, pack.stem, None)
    assert "permission was refused" in facts["troubles"][0]


@BELOW
def test_merge_copies_the_others_and_names_it(store: Path, tmp_path: Path, below: tuple[str, ...]):
    hide(store, *below)
    code, facts = run(store, "merge", str(tmp_path / "all"))
    assert (code, packs(tmp_path / "all")) == (1, {SHOWN.id})
    (source,) = facts["sources"]
    assert (source["packs"], len(source["troubles"])) == (1, 1)
    assert HIDDEN.id in source["troubles"][0]


@BELOW
def test_merge_into_a_store_with_a_hidden_one_copies_the_rest(
    store: Path, tmp_path: Path, below: tuple[str, ...]
):
    shutil.copytree(store, tmp_path / "shard")
    (known,) = (store / "v1" / SHOWN.id / "packs").iterdir()
    known.unlink()
    hide(store, *below)
    code, facts = run(tmp_path / "shard", "merge", str(store))
    assert (code, known.exists()) == (1, True)
    (result,) = facts["sources"]
    assert (result["packs"], len(result["troubles"])) == (1, 1)
    assert HIDDEN.id in result["troubles"][0]


def test_key_is_of_what_can_be_listed_and_changes_with_it(store: Path):
    code, before = run(store, "key")
    assert (code, before["troubles"]) == (0, [])
    hide(store)
    code, facts = run(store, "key")
    assert (code, len(facts["troubles"])) == (0, 1)
    assert facts["key"] != before["key"]
    (pack,) = (store / "v1" / SHOWN.id / "packs").iterdir()
    pack.unlink()
    assert run(store, "key")[1]["key"] != facts["key"]


@BELOW
def test_doctor_and_info_name_it(store: Path, below: tuple[str, ...]):
    hide(store, *below)
    found = [each for each in run(store, "doctor")[1]["findings"] if HIDDEN.id in each["finding"]]
    (finding,) = found
    assert (finding["level"], "permission was refused" in finding["finding"]) == ("warning", True)
    code, facts = run(store, "info")
    assert (code, facts["store"]["files"]) == (0, 1)
    assert HIDDEN.id in facts["store"]["trouble"]


def test_once_it_can_be_listed_all_is_pruned(store: Path):
    folder = hide(store)
    folder.chmod(0o700)
    os.chown(folder, os.getuid(), -1)
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
        open_store(str(store)).list("v1")
    assert list(caught.value.refused) == [f"v1/{HIDDEN.id}"]
    assert {each.key.split("/")[1] for each in caught.value.listing} == {SHOWN.id}
    with pytest.raises(OSError, match="Input/output error"):
        open_store(str(store)).list(f"v1/{HIDDEN.id}")
