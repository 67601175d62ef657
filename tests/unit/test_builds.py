from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_compilecache.compiling.builds import BuildCounter, built_file


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("g++ a.cpp -shared -fPIC -o /cache/a.so", "/cache/a.so"),
        ("/usr/bin/x86_64-linux-gnu-g++-12 a.cpp -c -o /cache/a.o", "/cache/a.o"),
        ("my-compiler.sh -x c++-header a.h -o /cache/a.h.gch", "/cache/a.h.gch"),
        ("gcc -o/cache/a.so a.c", "/cache/a.so"),
        ("gcc /tmp/t/main.c -I/x/triton/include -o /tmp/t/launcher.so", "/tmp/t/launcher.so"),
        ("gcc -shared -o /home/me/extension.so extension.c", None),
        ("python /x/triton/tool.py -o /tmp/t/x", None),
        ("g++ -E header.hpp -o /cache/header.i", None),
        ("g++ --version", None),
        ("g++ -v", None),
        ("g++ a.cpp -o", None),
        ("", None),
    ],
)
def test_only_what_is_built_for_torch_or_triton_counts(command: str, target: str | None):
    assert built_file(command.split(), ["/cache"]) == target


def test_bytes_and_paths_are_words_too():
    assert built_file([b"g++", "a.c", b"-o", b"/cache/a.so"], ["/cache"]) == "/cache/a.so"


def test_real_processes_are_counted_until_the_counter_rests():
    counter = BuildCounter(lambda: ["/dev"])
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
