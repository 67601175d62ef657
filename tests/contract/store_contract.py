"""What every store promises, as tests.

A backend derives from ``StoreContract`` and ``ProcessesContract`` and gives a store.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from pytest_compilecache.errors import StoreError
from pytest_compilecache.store import ObjectMissingError, Store, open_store

KEY = "v1/some-environment/packs/" + "0" * 64 + ".pack"

BAD_KEYS = [
    "",
    "/",
    "/v1",
    "v1/",
    "v1//a",
    ".",
    "..",
    "v1/../../etc/passwd",
    "v1/..",
    "v1/.hidden",
    "v1/-rf",
    "v1\\a",
    "v1/a b",
    "v1/a\0",
    "v1/a\n",
    "v1/%2e%2e",
    "v1/größe",
    "C:/v1",
    "tmp",
    "tmp/x",
    "v2/x",
    "V1/x",
    "v1.old/x",
    "v1/" + "a" * 900,
]


def publish(store: Store, key: str, content: bytes = b"content") -> bool:
    with store.stage() as staged:
        staged.file.write(content)
        return staged.publish(key)


def read(store: Store, key: str) -> bytes:
    with store.open(key) as file:
        return file.read()


def keys(store: Store, prefix: str = "v1") -> list[str]:
    return [each.key for each in store.list(prefix)]


CHILD = """
import os, sys, time
from pytest_compilecache.store import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
"""


class Child:
    """A process of its own with the store open, which waits for the word to go on."""

    def __init__(self, store: Store, code: str, *arguments: object) -> None:
        command = [sys.executable, "-c", CHILD + code, store.url, *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid
        self.line()

    def line(self) -> str:
        return self._process.stdout.readline().strip()

    def go(self) -> None:
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def end(self) -> tuple[int, str]:
        rest, _ = self._process.communicate(timeout=60)
        return self._process.returncode, rest


class StoreContract:
    """The suite. ``store`` is a fixture that gives an empty store."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    def test_a_new_store_is_empty(self, store):
        assert store.list("v1") == []
        assert store.list("v1/some-environment/packs") == []

    def test_what_was_published_is_read_as_it_was(self, store):
        content = os.urandom(3_000_000)
        assert publish(store, KEY, content) is True
        assert read(store, KEY) == content

    def test_an_empty_object_is_an_object(self, store):
        publish(store, KEY, b"")
        assert read(store, KEY) == b""
        assert keys(store) == [KEY]

    def test_an_object_is_written_in_pieces(self, store):
        with store.stage() as staged:
            for number in range(1000):
                staged.file.write(b"%03d" % number)
            staged.publish(KEY)
        assert read(store, KEY) == b"".join(b"%03d" % number for number in range(1000))

    def test_an_open_object_can_be_read_from_anywhere(self, store):
        publish(store, KEY, b"0123456789")
        with store.open(KEY) as file:
            assert file.seek(0, io.SEEK_END) == 10
            file.seek(7)
            assert file.read(2) == b"78"
            file.seek(-3, io.SEEK_END)
            assert file.read() == b"789"
            assert file.read(1) == b""

    def test_a_listing_tells_size_and_time(self, store):
        publish(store, KEY, b"0123456789")
        (found,) = store.list("v1")
        assert (found.key, found.size) == (KEY, 10)
        assert abs(found.modified - time.time()) < 3600

    def test_a_listing_is_sorted(self, store):
        names = ["v1/b", "v1/a/z", "v1/a.b", "v1/a-b/c", "v1/B"]
        for name in names:
            publish(store, name)
        assert keys(store) == sorted(names)

    def test_a_prefix_is_made_of_whole_components(self, store):
        for name in ("v1/env/packs/a", "v1/env/packs/b/c", "v1/env2/packs/d", "v1/env/packsx"):
            publish(store, name)
        assert keys(store, "v1/env/packs") == ["v1/env/packs/a", "v1/env/packs/b/c"]
        assert keys(store, "v1/env") == ["v1/env/packs/a", "v1/env/packs/b/c", "v1/env/packsx"]
        assert keys(store, "v1/en") == []

    def test_nothing_is_below_an_object(self, store):
        publish(store, "v1/a")
        assert store.list("v1/a") == []
        store.delete("v1/a/b")
        with pytest.raises(ObjectMissingError):
            store.open("v1/a/b")
        assert keys(store) == ["v1/a"]

    def test_a_prefix_is_no_object(self, store):
        publish(store, "v1/a/b")
        store.delete("v1/a")
        with pytest.raises(ObjectMissingError):
            store.open("v1/a")
        assert keys(store) == ["v1/a/b"]

    def test_a_missing_object_says_what_to_do_and_crosses_processes(self, store):
        publish(store, "v1/other")
        with pytest.raises(ObjectMissingError) as caught:
            store.open(KEY)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(copy, StoreError)
        assert isinstance(copy, FileNotFoundError)
        assert KEY in copy.subject
        assert copy.reason
        assert copy.remedy

    def test_the_first_to_publish_a_key_wins(self, store):
        assert publish(store, KEY, b"first") is True
        assert publish(store, KEY, b"second, and longer") is False
        assert read(store, KEY) == b"first"
        assert keys(store) == [KEY]

    def test_what_is_staged_is_not_visible(self, store):
        with store.stage() as staged:
            staged.file.write(b"content")
            staged.file.flush()
            assert store.list("v1") == []
            with pytest.raises(ObjectMissingError):
                store.open(KEY)
            staged.publish(KEY)
            assert keys(store) == [KEY]

    def test_what_is_not_published_leaves_nothing(self, store):
        with store.stage() as staged:
            staged.file.write(b"content")
        assert store.list("v1") == []

    def test_what_fails_half_way_leaves_nothing_and_says_why(self, store):
        with pytest.raises(ZeroDivisionError), store.stage() as staged:
            staged.file.write(b"content")
            raise ZeroDivisionError
        assert store.list("v1") == []

    def test_what_was_staged_is_published_once(self, store):
        with store.stage() as staged:
            staged.file.write(b"content")
            staged.publish("v1/a")
            with pytest.raises(StoreError):
                staged.publish("v1/b")
        assert keys(store) == ["v1/a"]

    def test_several_objects_are_staged_at_once(self, store):
        with store.stage() as first, store.stage() as second:
            first.file.write(b"first")
            second.file.write(b"second")
            second.publish("v1/second")
            first.publish("v1/first")
        assert read(store, "v1/first") == b"first"
        assert read(store, "v1/second") == b"second"

    def test_what_was_deleted_is_gone(self, store):
        publish(store, "v1/a")
        publish(store, "v1/b")
        store.delete("v1/a")
        assert keys(store) == ["v1/b"]
        with pytest.raises(ObjectMissingError):
            store.open("v1/a")

    def test_deleting_what_is_missing_does_nothing(self, store):
        store.delete(KEY)
        publish(store, KEY)
        store.delete(KEY)
        store.delete(KEY)
        assert store.list("v1") == []

    def test_what_was_deleted_can_be_published_again(self, store):
        publish(store, KEY, b"first")
        store.delete(KEY)
        assert publish(store, KEY, b"second") is True
        assert read(store, KEY) == b"second"

    def test_what_is_deleted_while_it_is_read_is_read_whole_or_fails(self, store):
        content = os.urandom(1_000_000)
        publish(store, KEY, content)
        with store.open(KEY) as file:
            beginning = file.read(10)
            store.delete(KEY)
            try:
                rest = file.read()
            except StoreError:
                return
        assert beginning + rest == content

    def test_the_clock_is_the_one_that_objects_are_dated_by(self, store):
        before = store.clock()
        publish(store, KEY)
        (found,) = store.list("v1")
        assert before - 1 <= found.modified <= store.clock() + 1

    @pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
    def test_a_key_that_might_lead_elsewhere_is_refused(self, store, key):
        with pytest.raises(StoreError, match="key"):
            store.open(key)
        with pytest.raises(StoreError, match="key"):
            store.delete(key)
        with store.stage() as staged, pytest.raises(StoreError, match="key"):
            staged.publish(key)
        with pytest.raises(StoreError, match="key"):
            store.list(key)
        assert store.list("v1") == []

    def test_the_url_leads_to_the_same_store(self, store):
        publish(store, KEY)
        assert read(open_store(store.url), KEY) == b"content"
        assert open_store(store.url).url == store.url


class ProcessesContract:
    """What a store promises to processes of their own, which open it again by its URL.

    They know neither the limits nor the locks that a test chose, so one kind of a store is enough.
    """

    def test_of_processes_that_race_for_one_key_one_wins_each_time(self, store):
        code = """
for number in range(30):
    with store.stage() as staged:
        staged.file.write(b"%03d" % number * 10_000)
        print(number, staged.publish(f"v1/env/{number}"), flush=True)
"""
        children = [Child(store, code) for _ in range(4)]
        for child in children:
            child.go()
        endings = [child.end() for child in children]
        assert [code for code, _ in endings] == [0] * 4
        won = [line for _, text in endings for line in text.splitlines() if "True" in line]
        assert sorted(won) == sorted(f"{number} True" for number in range(30))
        for number in range(30):
            assert read(store, f"v1/env/{number}") == b"%03d" % number * 10_000

    def test_processes_that_publish_different_keys_all_succeed(self, store):
        code = """
for number in range(20):
    with store.stage() as staged:
        staged.file.write(sys.argv[2].encode())
        assert staged.publish(f"v1/env{sys.argv[2]}/{number}")
"""
        children = [Child(store, code, each) for each in range(4)]
        for child in children:
            child.go()
        assert [child.end()[0] for child in children] == [0] * 4
        assert len(store.list("v1")) == 80
        for each in range(4):
            assert read(store, f"v1/env{each}/19") == b"%d" % each

    def test_a_reader_sees_an_object_whole_or_not_at_all(self, store):
        code = """
for number in range(40):
    with store.stage() as staged:
        for _ in range(50):
            staged.file.write(b"x" * 10_000)
        staged.publish(f"v1/env/{number}")
"""
        child = Child(store, code)
        child.go()
        seen: set[str] = set()
        deadline = time.monotonic() + 60
        while len(seen) < 40:
            assert time.monotonic() < deadline
            for found in store.list("v1/env"):
                assert found.size == 500_000
                if found.key not in seen:
                    seen.add(found.key)
                    assert len(read(store, found.key)) == 500_000
        assert child.end()[0] == 0

    def test_killed_before_it_publishes_leaves_nothing_visible(self, store):
        code = """
with store.stage() as staged:
    staged.file.write(b"x" * 1_000_000)
    staged.file.flush()
    print("staged", flush=True)
    time.sleep(60)
"""
        child = Child(store, code)
        child.go()
        assert child.line() == "staged"
        os.kill(child.pid, signal.SIGKILL)
        assert child.end()[0] == -signal.SIGKILL
        assert store.list("v1") == []
        assert publish(store, KEY) is True
        assert keys(store) == [KEY]

    def test_killed_at_any_moment_leaves_whole_objects(self, store):
        code = """
for number in range(10_000):
    with store.stage() as staged:
        staged.file.write(b"x" * 100_000)
        staged.publish(f"v1/env/{sys.argv[2]}-{number}")
        print(number, flush=True)
"""
        published = 0
        for delay in (0.0, 0.003, 0.011, 0.02):
            child = Child(store, code, published)
            child.go()
            child.line()
            time.sleep(delay)
            os.kill(child.pid, signal.SIGKILL)
            published += 1 + len(child.end()[1].split())
        found = store.list("v1/env")
        assert len(found) >= published
        assert {each.size for each in found} == {100_000}
