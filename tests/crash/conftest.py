from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.prepared import Prepared


def in_memory() -> Iterator[Path]:
    """A folder in memory, where there is one: to sync a disk a thousand times takes minutes."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    made = Path(tempfile.mkdtemp(prefix="compilecache-crash-", dir=memory))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the test's own."""
    yield from in_memory()


@pytest.fixture(scope="module")
def shared_folder() -> Iterator[Path]:
    """A folder for what the tests of a module only copy."""
    yield from in_memory()


@pytest.fixture(scope="session")
def prepared() -> Iterator[Prepared]:
    """A process that forks others, which are killed or starved."""
    with Prepared() as prepared:
        yield prepared
