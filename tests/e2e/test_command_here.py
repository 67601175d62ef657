"""The commands about this machine: ``info``, ``doctor``, ``load``, ``save``."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.command import Command, fill, without_torch


def test_store_is_named_by_option_then_by_our_variable_then_by_its_alias(
    command: Command, tmp_path: Path
):
    def chosen(*words: object, **variables: str) -> tuple[str, str]:
        store = command.json("info", *words, **variables)["store"]
        return Path(store["place"]).name, store["from"]

    servers = {"B10FS_CACHE_DIR": str(tmp_path / "servers")}
    tests = {"COMPILECACHE_STORE": str(tmp_path / "tests")}
    assert chosen("--store", tmp_path / "typed", **servers, **tests) == ("typed", "--store")
    assert chosen(**servers, **tests) == ("tests", "COMPILECACHE_STORE")
    assert chosen(**servers) == ("servers", "B10FS_CACHE_DIR")
    assert chosen() == ("store", "default")


def test_user_without_a_home_has_the_store_that_is_named(command: Command, tmp_path: Path):
    """As in containers that run under any number."""
    (tmp_path / "odd").mkdir()
    homeless = "import pwd\npwd.getpwuid = {}.__getitem__\nimport os\ndel os.environ['HOME']\n"
    (tmp_path / "odd" / "sitecustomize.py").write_text(homeless)
    store = tmp_path / "store"
    fill(store, tmp_path / "w", "a.h")
    nobody = {"PYTHONPATH": str(tmp_path / "odd")}
    command("ls", code=2, **nobody)
    assert "no home directory" in command.errors
    for named in ({"COMPILECACHE_STORE": str(store)}, {"B10FS_CACHE_DIR": str(store)}):
        assert len(command.json("ls", **named, **nobody)["environments"]) == 1
    assert len(command.json("ls", "--store", store, **nobody)["environments"]) == 1
    assert command("run", "--store", store, "--", "echo", "served", **nobody) == "served\n"


def test_info_says_where_each_setting_comes_from_and_makes_nothing(command: Command):
    facts = command.json("info", COMPILECACHE_SAVE="never", MAX_CONCURRENT_SAVES="7")
    tests = {each["name"]: each for each in facts["settings_of_tests"]}
    assert tests["save"] == {"name": "save", "value": "never", "origin": "COMPILECACHE_SAVE"}
    assert tests["keep_days"]["origin"] == "default"
    servers = {each["name"]: each for each in facts["settings_of_servers"]}
    saves = {"name": "max_concurrent_saves", "value": "7", "origin": "MAX_CONCURRENT_SAVES"}
    assert servers["max_concurrent_saves"] == saves
    assert facts["environment"]["id"].startswith("torch")
    assert list(command.home.iterdir()) == list(command.work.iterdir()) == []


def test_info_says_where_everyone_works_and_what_it_takes(command: Command, tmp_path: Path):
    store = tmp_path / "store"
    fill = 'mkdir "$TORCHINDUCTOR_CACHE_DIR/ab"; printf 12345 > "$TORCHINDUCTOR_CACHE_DIR/ab/k.h"'
    before = command.json("info")
    for who in ("tests", "servers", "run", "watch"):
        assert (
            before[f"workspace_of_{who}"]["exists"],
            before[f"workspace_of_{who}"]["files"],
        ) == (False, 0)
    command("run", "--store", store, "--", "sh", "-c", fill)
    place = command.json("info")["workspace_of_run"]
    assert (place["exists"], place["files"], place["bytes"]) == (True, 1, 5)
    assert (Path(place["place"]) / "ab" / "k.h").read_text() == "12345"
    assert set(place["folders"]) == {"unguarded", "headers", "vllm"}
    command("watch", "--store", store)
    beside = command.json("info")["workspace_of_watch"]
    assert (Path(beside["place"]) / "ab" / "k.h").read_text() == "12345"
    assert (beside["files"], beside["bytes"]) == (1, 5)
    assert command.json("info")["workspace_of_tests"]["exists"] is False


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


def test_doctor_finds_what_is_broken_and_says_what_to_do(command: Command, tmp_path: Path):
    nothing = tmp_path / "no-compiler"
    found = command.json(
        "doctor", code=1, CXX=str(nothing), TORCH_COMPILE_DISABLE="1", **without_torch(tmp_path)
    )
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


def test_doctor_looks_at_the_temp_directory_that_is_used(command: Command, tmp_path: Path):
    absent = tmp_path / "absent"
    facts = command.json(
        "doctor", TMPDIR=str(absent), CXX="/nowhere/c++", code=1, **without_torch(tmp_path)
    )
    subjects = {each["subject"] for each in facts["findings"]}
    assert "temp directory /tmp" in subjects
    assert not any(str(absent) in subject for subject in subjects)
