"""The command ``compilecache``, as processes: exit codes, words for a person, JSON for a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.cache import save
from pytest_compilecache.environment import Environment
from pytest_compilecache.workspace.place import Workspace

ENVIRONMENT = Environment({"torch": "2.13.0"})
COMMANDS = ["info", "doctor", "ls", "load", "save", "check", "prune", "merge", "key"]


class Command:
    """The command, on a machine of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home, self.work = root / "home", root / "work"
        for folder in (self.home, self.work):
            folder.mkdir(mode=0o700)
        self.variables = {"LOCAL_WORK_DIR": str(self.work)}

    def __call__(self, *words: object, code: int = 0, **variables: str) -> str:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "TMPDIR": str(self.work),
            **self.variables,
            **variables,
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest_compilecache", *map(str, words)],
            env=environ,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        self.errors = done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def json(self, *words: object, code: int = 0, **variables: str) -> Any:
        return json.loads(self(*words, "--json", code=code, **variables))


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def fill(store: Path, workspace: Path, *names: str) -> None:
    """Save a pack of artifacts that are only bytes."""
    place = Workspace(workspace, workspace / "inductor", workspace / "headers")
    place.prepare(ENVIRONMENT.id)
    (place.inductor / "ab").mkdir(exist_ok=True)
    for name in names:
        (place.inductor / "ab" / name).write_bytes(name.encode() * 100)
    assert save(place, ENVIRONMENT, str(store)).files == len(names)


def damage(store: Path) -> Path:
    """Flip a byte in the middle of a pack."""
    (pack,) = store.rglob("*.pack")
    content = bytearray(pack.read_bytes())
    content[40] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    return pack


def test_help_names_every_command_and_fits_80_columns(command: Command):
    text = command("--help")
    for name in COMMANDS:
        assert f"  {name} " in text
        lines = command(name, "--help").splitlines()
        assert max(map(len, lines)) <= 80
    assert max(map(len, text.splitlines())) <= 80


def test_wrong_command_line_is_exit_code_2_and_named(command: Command):
    command("lss", code=2)
    assert "No such command 'lss'" in command.errors
    command("ls", "--stor", "x", code=2)
    assert "--stor" in command.errors


def test_wrong_setting_is_exit_code_2_and_named(command: Command):
    command("load", code=2, MAX_CACHE_SIZE_MB="much")
    assert "error: MAX_CACHE_SIZE_MB: 'much' is not a whole number" in command.errors
    command("ls", code=2, B10FS_CACHE_DIR="s3://bucket/x")
    assert "s3:// is not supported" in command.errors


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


def test_merge_leaves_a_damaged_pack_out_and_ends_with_1(command: Command, tmp_path: Path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    fill(good, tmp_path / "w1", "a.h")
    fill(bad, tmp_path / "w2", "b.h")
    damage(bad)
    merged = command.json("merge", tmp_path / "all", good, bad, code=1)
    assert [each["packs"] for each in merged["sources"]] == [1, 0]
    assert len(merged["sources"][1]["troubles"]) == 1
    assert command.json("check", "--store", tmp_path / "all")["ok"] is True


def test_store_is_named_by_option_then_by_the_servers_variable_then_by_the_tests(
    command: Command, tmp_path: Path
):
    def chosen(*words: object, **variables: str) -> tuple[str, str]:
        store = command.json("info", *words, **variables)["store"]
        return Path(store["place"]).name, store["from"]

    servers = {"B10FS_CACHE_DIR": str(tmp_path / "servers")}
    tests = {"COMPILECACHE_STORE": str(tmp_path / "tests")}
    assert chosen("--store", tmp_path / "typed", **servers, **tests) == ("typed", "--store")
    assert chosen(**servers, **tests) == ("servers", "B10FS_CACHE_DIR")
    assert chosen(**tests) == ("tests", "COMPILECACHE_STORE")
    assert chosen() == ("store", "default")


def test_info_says_where_each_setting_comes_from_and_makes_nothing(command: Command):
    facts = command.json("info", COMPILECACHE_SAVE="never", MAX_CONCURRENT_SAVES="7")
    tests = {each["name"]: each for each in facts["settings_of_tests"]}
    assert tests["save"] == {"name": "save", "value": "never", "origin": "environment variable"}
    assert tests["keep_days"]["origin"] == "default"
    servers = {each["name"]: each for each in facts["settings_of_servers"]}
    assert servers["MAX_CONCURRENT_SAVES"]["value"] == "7"
    assert facts["environment"]["id"].startswith("torch")
    assert list(command.home.iterdir()) == list(command.work.iterdir()) == []


def test_load_and_save_are_the_two_calls_of_a_server(command: Command, tmp_path: Path):
    store = tmp_path / "store"
    assert command.json("load", "--store", store)["status"] == "does_not_exist"
    place = Path(command.json("info")["workspace_of_servers"]["place"])
    assert place.is_dir()
    (place / "ab").mkdir()
    (place / "ab" / "kernel.h").write_bytes(b"kernel")
    saved = command.json("save", "--store", store)
    assert (saved["status"], saved["files"]) == ("success", 1)
    assert command.json("save", "--store", store)["status"] == "skipped"
    (place / "ab" / "kernel.h").unlink()
    assert "loaded 1 file" in command("load", "--store", store)
    assert (place / "ab" / "kernel.h").read_bytes() == b"kernel"
    store.rename(tmp_path / "gone")
    store.write_bytes(b"no folder")
    assert command.json("save", "--store", store, code=1)["status"] == "error"


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
    assert all(after["key"].startswith(each) for each in after["restore_keys"])
    expected = ["restore-keys<<COMPILECACHE", *after["restore_keys"], "COMPILECACHE"]
    assert github.read_text().splitlines() == [f"key={after['key']}", *expected]
    command("key", "--github-output", code=2)
    assert "GITHUB_OUTPUT" in command.errors


def test_doctor_finds_what_is_broken_and_says_what_to_do(command: Command, tmp_path: Path):
    nothing = tmp_path / "no-compiler"
    found = command.json("doctor", code=1, CXX=str(nothing), TORCH_COMPILE_DISABLE="1")
    findings = {each["subject"]: each for each in found["findings"]}
    assert findings["C++ compiler"]["level"] == "error"
    assert str(nothing) in findings["C++ compiler"]["finding"]
    assert "install a C++ compiler" in findings["C++ compiler"]["finding"]
    assert findings["TORCH_COMPILE_DISABLE=1"]["level"] == "warning"


def test_doctor_finds_nothing_broken_here(command: Command):
    found = command.json("doctor")
    assert found["ok"] is True
    subjects = {each["subject"].split()[0] for each in found["findings"]}
    assert {"torch", "C++", "vector", "store", "temp"} <= subjects


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


def test_missing_extra_is_named_with_its_remedy(command: Command, tmp_path: Path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys\nsys.modules['click'] = None\n")
    command("info", code=2, PYTHONPATH=str(blocked))
    assert "pip install 'pytest-compilecache[cli]'" in command.errors
