"""The commands about a store: ``ls``, ``check``, ``prune``, ``merge``, ``key``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.command import ENVIRONMENT, Command, damage, fill


def test_missing_store_is_not_taken_for_an_empty_one(command: Command, tmp_path: Path):
    for words in (("ls",), ("check",), ("prune",)):
        command(*words, "--store", tmp_path / "nowhere", code=2)
        assert "there is no store at" in command.errors
    command("merge", tmp_path / "all", tmp_path / "nowhere", code=2)
    assert not (tmp_path / "all").exists()


def test_ls_lists_environments_and_their_packs(command: Command, tmp_path: Path):
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h", "b.h")
    listed = command.json("ls", "--store", store)
    (row,) = listed["environments"]
    assert (row["id"], row["packs"]) == (ENVIRONMENT.id, 1)
    packs = command.json("ls", ENVIRONMENT.id, "--store", store)["packs"]
    assert [(pack["files"], pack["supersedes"]) for pack in packs] == [(2, 0)]
    text = command("ls", "--store", store)
    assert ENVIRONMENT.id in text
    assert "just now" in text
    command("ls", "../outside", "--store", store, code=2)
    command("ls", "torch9-0000000000000000", "--store", store, code=2)
    assert "holds nothing of the environment" in command.errors


def test_ls_names_a_damaged_pack_beside_the_others(command: Command, tmp_path: Path):
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h")
    pack = damage(store)
    fill(store, tmp_path / "w2", "b.h")
    listed = command.json("ls", ENVIRONMENT.id, "--store", store, code=1)
    assert sorted(str(each["files"]) for each in listed["packs"]) == ["1", "None"]
    assert pack.stem in listed["troubles"][0]
    text = command("ls", ENVIRONMENT.id, "--store", store, code=1)
    assert "?" in text
    assert pack.stem in command.errors


def test_check_names_what_is_damaged_and_ends_with_1(command: Command, tmp_path: Path):
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h")
    assert command.json("check", "--store", store)["ok"] is True
    pack = damage(store)
    found = command.json("check", "--store", store, code=1)
    assert found["ok"] is False
    assert pack.name in found["findings"][0]["key"]
    assert "✗" in command("check", "--store", store, code=1)


def test_prune_deletes_what_is_old_and_tells_it(command: Command, tmp_path: Path):
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h")
    (pack,) = store.rglob("*.pack")
    assert command.json("prune", "--store", store)["deleted"] == []
    os.utime(pack, (pack.stat().st_mtime - 3 * 86_400,) * 2)
    deleted = command.json("prune", "--store", store, "--keep-days", 2)
    assert [Path(key).name for key in deleted["deleted"] if key.endswith("pack")] == [pack.name]
    assert not pack.exists()


def test_merge_unites_shards_and_a_second_one_copies_nothing(command: Command, tmp_path: Path):
    shards = [tmp_path / f"shard{number}" for number in range(3)]
    for number, shard in enumerate(shards):
        fill(shard, tmp_path / f"w{number}", f"{number}.h", "shared.h")
    merged = command.json("merge", tmp_path / "all", *shards)
    assert [source["packs"] for source in merged["sources"]] == [1, 1, 1]
    assert len(list((tmp_path / "all").rglob("*.pack"))) == 3
    again = command.json("merge", tmp_path / "all", *shards)
    assert [(each["packs"], each["known"]) for each in again["sources"]] == [(0, 1)] * 3
    assert command.json("check", "--store", tmp_path / "all")["ok"] is True


def test_merge_into_a_folder_of_a_source_is_refused_and_into_itself_changes_nothing(
    command: Command, tmp_path: Path
):
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h")
    (tmp_path / "link").symlink_to(store)
    before = sorted(store.rglob("*"))
    for target in (store / "all", tmp_path / "link" / "v1" / "all"):
        command("merge", target, store, code=2)
        assert "lies in the source" in command.errors
    for target in (store, tmp_path / "link"):
        (same,) = command.json("merge", target, store)["sources"]
        assert (same["packs"], same["known"]) == (0, 1)
    assert sorted(store.rglob("*")) == before


def test_merge_leaves_a_damaged_pack_out_and_ends_with_1(command: Command, tmp_path: Path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    fill(good, tmp_path / "w1", "a.h")
    fill(bad, tmp_path / "w2", "b.h")
    damage(bad)
    merged = command.json("merge", tmp_path / "all", good, bad, code=1)
    assert [each["packs"] for each in merged["sources"]] == [1, 0]
    assert len(merged["sources"][1]["troubles"]) == 1
    assert command.json("check", "--store", tmp_path / "all")["ok"] is True


def test_key_changes_with_what_the_store_holds_and_restore_keys_do_not(
    command: Command, tmp_path: Path
):
    store, github = tmp_path / "store", tmp_path / "github"
    before = command.json("key", "--store", store)
    assert before["key"].endswith("-empty")
    fill(store, tmp_path / "w", "a.h")
    after = command.json("key", "--store", store, "--github-output", GITHUB_OUTPUT=str(github))
    assert after["key"] != before["key"]
    assert after["key"] == command.json("key", "--store", store)["key"]
    assert after["restore_keys"] == before["restore_keys"]
    merged, here, anything = after["restore_keys"]
    assert (merged, anything) == ("compilecache-all-", "compilecache-")
    assert here == f"compilecache-{after['environment']}-"
    assert after["key"].startswith(here)
    expected = ["restore-keys<<COMPILECACHE", *after["restore_keys"], "COMPILECACHE"]
    assert github.read_text().splitlines() == [f"key={after['key']}", *expected]
    command("key", "--github-output", code=2)
    assert "GITHUB_OUTPUT" in command.errors


@pytest.mark.parametrize("prefix", ["", " ", "a,b", "a\nkey=b", "a b", "ü", "x" * 201])
def test_prefix_that_no_cache_takes_in_a_key_is_refused_and_nothing_is_written(
    command: Command, tmp_path: Path, prefix: str
):
    github = tmp_path / "github"
    words = ("key", "--store", tmp_path, "--github-output", "--prefix", prefix)
    command(*words, code=2, GITHUB_OUTPUT=str(github))
    assert "'--prefix'" in command.errors
    assert not github.exists()


def test_output_of_github_that_cannot_be_written_is_named(command: Command, tmp_path: Path):
    words = ("key", "--store", tmp_path, "--github-output")
    assert command(*words, code=1, GITHUB_OUTPUT=str(tmp_path / "absent" / "output")) == ""
    assert command.errors == (
        f"error: [Errno 2] No such file or directory: '{tmp_path / 'absent' / 'output'}'\n"
    )


def test_explain_names_each_field_that_differs_from_the_nearest_environment(
    command: Command, tmp_path: Path
):
    store = tmp_path / "store"
    command("load", "--store", store)
    here = command.json("info")
    place = Path(here["workspace_of_servers"]["place"])
    (place / "ab").mkdir()
    (place / "ab" / "kernel.h").write_bytes(b"kernel")
    command("save", "--store", store)
    assert "holds 1 pack of" in command("explain", "--store", store)
    fill(store, tmp_path / "w", "a.h")  # of an environment that is further away
    lower = command.json("explain", "--store", store, code=1, ATEN_CPU_CAPABILITY="avx2")
    assert lower["nearest"] == here["environment"]["id"]
    assert lower["differences"] == [
        {"field": "aten_cpu_capability", "here": "avx2", "there": "unset"}
    ]
    text = command("explain", "--store", store, code=1, ATEN_CPU_CAPABILITY="avx2")
    assert "aten_cpu_capability: avx2 here, unset there" in text
    (pack,) = store.glob(f"v1/{here['environment']['id']}/packs/*")
    pack.unlink()  # what has no packs helps nobody
    gone = command.json("explain", "--store", store, code=1, ATEN_CPU_CAPABILITY="avx2")
    assert gone["nearest"] == ENVIRONMENT.id


def test_commands_about_a_store_need_no_torch(command: Command, tmp_path: Path):
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h")
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import sys\nsys.modules['torch'] = None\nsys.modules['pytest'] = None\n"
    )
    for words in (("ls",), ("check",), ("prune",)):
        command(*words, "--store", store, PYTHONPATH=str(blocked))
    command("merge", tmp_path / "all", store, PYTHONPATH=str(blocked))
    merged = command.json("key", "--merged", "--store", store, PYTHONPATH=str(blocked))
    assert merged["environment"] is None  # which it would take torch to tell
    assert merged["restore_keys"] == ["compilecache-all-", "compilecache-"]
    assert merged["key"].startswith("compilecache-all-")
    (tmp_path / "report.json").write_text("{}")
    command("report", tmp_path / "report.json", code=1, PYTHONPATH=str(blocked))
    assert "it is no report of a session" in command.errors
