"""The cache is never worth a test: trouble in the store is one warning and changes no outcome."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Cold
from tests.e2e.machine import Machine, Run

TEST = "test_plain_torch_compile"


def warnings(run: Run) -> list[str]:
    return [line for line in run.out.splitlines() if "warning: " in line]


def compile_once(machine: Machine, cold: Cold, store: Path, *arguments: str) -> Run:
    return machine.pytest(
        f"--compilecache-store={store}", "-k", "plain", *arguments, cwd=cold.project
    )


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_file_instead_of_a_folder(cold: Cold, warm_machine: Machine, tmp_path: Path):
    store = tmp_path / "store"
    store.write_text("not a folder")
    run = compile_once(warm_machine, cold, store)
    assert run.code == 0, run.out
    (warning,) = warnings(run)
    assert str(store) in warning
    assert "not a folder" in warning or "is a file" in warning
    assert store.read_text() == "not a folder"


def test_full_store(cold: Cold, warm_machine: Machine, full_disk: Path):
    run = compile_once(warm_machine, cold, full_disk)
    assert run.code == 0, run.out
    (warning,) = warnings(run)
    assert "space" in warning
    assert [
        path.name for path in full_disk.rglob("*") if path.is_file() and path.suffix == ".pack"
    ] == []


def test_unreadable_store(cold: Cold, warm_machine: Machine, store: Path):
    packs = next(store.rglob("packs"))
    packs.chmod(0)
    if os.getuid() == 0:  # root reads everything, unless it may not
        no_override = "--bounding-set=-dac_override,-dac_read_search"
        warm_machine.prefix = ("setpriv", no_override)
    try:
        run = compile_once(warm_machine, cold, store)
        assert run.code == 0, run.out
        (warning,) = warnings(run)
        assert "permission" in warning.lower()
    finally:
        packs.chmod(0o700)


def test_missing_store_that_nobody_will_make(cold: Cold, warm_machine: Machine, tmp_path: Path):
    run = compile_once(warm_machine, cold, tmp_path / "nowhere", "--compilecache-save=never")
    assert run.code == 0, run.out
    (warning,) = warnings(run)
    assert "does not exist" in warning
    assert not (tmp_path / "nowhere").exists()


def test_damaged_pack_is_a_miss_and_the_next_save_replaces_it(
    cold: Cold, store: Path, machine: Machine
):
    (pack,) = store.rglob("*.pack")
    content = bytearray(pack.read_bytes())
    content[-100] ^= 1
    pack.write_bytes(content)
    run = machine.pytest(f"--compilecache-store={store}", cwd=cold.project)
    assert run.code == 0, run.out
    assert len(warnings(run)) == 1, run.out
    run.line(r"not warm: 3 of 3")
    machine.start_over()
    again = machine.pytest(f"--compilecache-store={store}", cwd=cold.project)
    assert again.built == ()


def test_strictness_makes_trouble_fail_the_session(
    cold: Cold, warm_machine: Machine, tmp_path: Path
):
    store = tmp_path / "store"
    store.write_text("")
    run = compile_once(warm_machine, cold, store, "--compilecache-strict")
    assert run.code == 1, run.out
    assert "1 passed" in run.out


def test_bad_setting_stops_with_its_name_and_remedy(machine: Machine, cold: Cold):
    run = machine.pytest("--compilecache-save=sometimes", cwd=cold.project)
    assert run.code == 4
    assert "--compilecache-save (command line): 'sometimes'" in run.out
    assert "use one of auto, always, never" in run.out


def test_home_that_cannot_be_written_costs_the_cache_and_no_test(cold: Cold, machine: Machine):
    shutil.rmtree(machine.home)
    machine.home.write_text("")
    run = machine.pytest("-k", "plain", cwd=cold.project)
    assert run.code == 0, run.out
    (warning,) = warnings(run)
    assert "--compilecache-dir" in warning
