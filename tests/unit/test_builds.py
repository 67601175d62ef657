from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_compilecache.compiling.builds import BuildCounter, built_file


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("g++ a.cpp -shared -fPIC -o a.so", "a.so"),
        ("/usr/bin/x86_64-linux-gnu-g++-12 a.cpp -c -o a.o", "a.o"),
        ("clang++-17 -x c++-header a.h -o a.h.gch", "a.h.gch"),
        ("nvcc -cubin -o a.cubin a.cu", "a.cubin"),
        ("gcc -oa.so a.c", "a.so"),
        ("g++ -E header.hpp -o header.i", None),
        ("g++ --version", None),
        ("g++ -v", None),
        ("openssl sha512 -o x", None),
        ("python -c pass -o x", None),
        ("cccc -o x", None),
        ("g++ a.cpp -o", None),
        ("", None),
    ],
)
def test_only_a_compiler_that_writes_an_object_builds(command: str, target: str | None):
    assert built_file(command.split()) == target


def test_bytes_and_paths_are_words_too():
    assert built_file([b"g++", "a.c", b"-o", b"a.so"]) == "a.so"


def test_real_processes_are_counted_until_the_counter_rests():
    counter = BuildCounter()
    counter.start()
    command = ["g++", "-x", "c++", "/dev/null", "-c", "-o", "/dev/null"]
    subprocess.run(command, check=False)
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    subprocess.run("true -o g++", shell=True, check=True)
    assert counter.drain() == ("/dev/null",)
    assert counter.drain() == ()
    counter.stop()
    subprocess.run(command, check=False)
    assert counter.drain() == ()
