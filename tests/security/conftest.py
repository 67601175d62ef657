"""A scene for each test, with HOME and the working directory inside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.security.scene import Scene


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A scene to copy: a save waits for the disk, and would do so for every test."""
    made = Scene(tmp_path_factory.mktemp("pattern") / "machine")
    made.root.mkdir(mode=0o700)
    made.prepare()
    return made


@pytest.fixture
def scene(pattern: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    shutil.copytree(pattern.root, tmp_path / "machine")
    made = Scene(tmp_path / "machine")
    (made.good,) = made.packs.iterdir()
    monkeypatch.chdir(made.home)
    monkeypatch.setenv("HOME", str(made.home))
    return made
