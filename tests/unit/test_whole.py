"""What is provably torn is found; what is whole is left alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_compilecache.workspace.whole import is_probe, why_torn


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    source = folder / "cabc.cpp"
    source.write_text('extern "C" int answer() { static int zero[4000]; return 42 + zero[3]; }\n')
    target = folder / "cabc.so"
    subprocess.run(["g++", "-g", "-shared", "-fPIC", source, "-o", target], check=True)
    return target


def test_real_library_is_whole(library: Path):
    assert why_torn(library) is None


def test_stripped_library_is_whole(library: Path, tmp_path: Path):
    stripped = tmp_path / "c.so"
    subprocess.run(["strip", "-o", stripped, library], check=True)
    assert why_torn(stripped) is None


def test_library_cut_anywhere_is_torn(library: Path, tmp_path: Path):
    content = library.read_bytes()
    cut = tmp_path / "c.so"
    for length in [*range(200), *range(200, len(content), 97), len(content) - 1]:
        cut.write_bytes(content[:length])
        assert why_torn(cut) is not None, f"cut at {length} of {len(content)}"


def test_library_of_zeros_is_torn(library: Path, tmp_path: Path):
    zeros = tmp_path / "c.so"
    zeros.write_bytes(bytes(library.stat().st_size))
    assert why_torn(zeros) == "it has no ELF header"


def test_header_that_the_compiler_was_killed_over_is_torn(tmp_path: Path):
    header = tmp_path / "h.h"
    header.write_text("#include <vector>\n#include <map>\n#include <iostream>\n")
    target = tmp_path / "h.h.gch"
    subprocess.run(["g++", "-x", "c++-header", header, "-o", target], check=True)
    assert why_torn(target) is None
    content = target.read_bytes()
    # GCC writes this mark first and the real one when all is written.
    target.write_bytes(b"gpcWrite" + content[8 : len(content) // 2])
    assert why_torn(target) == "the compiler did not finish it"


@pytest.mark.parametrize(
    ("name", "whole", "torn"),
    [
        ("c1.py", b"def f():\n    return 1\n", b"def f(:\n"),
        ("c1.best_config", b'{"a": 1}', b'{"a": 1'),
        ("g.json", b"[]", b"["),
        ("fxgraph/ab/key/entry", b"\x80\x04N.", b"\x80\x04N"),
        ("aotautograd/key/entry", b"\x80\x04N.", b"\x80\x04N"),
    ],
)
def test_file_that_its_reader_could_not_parse_is_torn(
    name: str, whole: bytes, torn: bytes, tmp_path: Path
):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole)
    assert why_torn(path) is None
    path.write_bytes(torn)
    assert why_torn(path) is not None
    path.write_bytes(b"")
    assert why_torn(path) == "it is empty"


def test_file_of_a_kind_that_we_do_not_know_is_left_alone(tmp_path: Path):
    for content in (b"", b"\0"):
        unknown = tmp_path / "cabc.so.load_ok"
        unknown.write_bytes(content)
        assert why_torn(unknown) is None


def test_probe_is_told_from_a_kernel(library: Path, tmp_path: Path):
    for name, code, expected in (
        ("ckernel.main", 'extern "C" void kernel() {}', False),
        ("ckernel", 'extern "C" void kernel() {}', False),  # so named before torch 2.8
        ("cprobe", 'extern "C" void __avx_chk_kernel() {}', True),
    ):
        copy = Path(shutil.copy(library, tmp_path / f"{name}.so"))
        copy.with_suffix(".cpp").write_text(code)
        assert is_probe(copy) is expected
