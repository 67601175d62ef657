"""What is packed comes back, and what cannot be packed is left out."""

from __future__ import annotations

import gc
import hashlib
import io
import os
import pickle
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_compilecache.errors import PackError
from pytest_compilecache.pack import PackReader, PackSource, PackTooLargeError, write_pack
from pytest_compilecache.pack.index import FOOTER, FRAME_SIZE
from pytest_compilecache.pack.paths import path_fault

ENVIRONMENT = "torch2.13.0-cp311-linux-x86_64-0123456789abcdef"
EDGES = (0, 1, FRAME_SIZE - 1, FRAME_SIZE, FRAME_SIZE + 1, 2 * FRAME_SIZE, 2 * FRAME_SIZE + 7)


def content_of(size, seed=0):
    """Bytes that compress well, and differ from frame to frame."""
    block = hashlib.sha512(str(seed).encode()).digest() * 1001
    return (block * (size // len(block) + 1))[:size]


def noise(size):
    return os.urandom(size)


def lay_out(folder, tree):
    """Write a tree of contents below a folder; return it as sources, in its order."""
    sources = []
    for path, content in tree.items():
        location = folder / path
        location.parent.mkdir(parents=True, exist_ok=True)
        location.write_bytes(content)
        sources.append(PackSource(path, location))
    return sources


def pack(sources, target=None, **options):
    target = io.BytesIO() if target is None else target
    options = {"environment": ENVIRONMENT, "created": 1_700_000_000.0, **options}
    return target, write_pack(target, sources, **options)


def unpack(target, name, wanted=None):
    reader = PackReader(target, name=name)
    wanted = [file.path for file in reader.index.files] if wanted is None else wanted
    return {file.path: b"".join(chunks) for file, chunks in reader.extract(wanted)}


class CountingSource(io.BytesIO):
    """A pack that knows which of its parts were read."""

    def __init__(self, content):
        super().__init__(content)
        self.reads = []

    def read(self, size=-1):
        start = self.tell()
        content = super().read(size)
        self.reads.append((start, len(content)))
        return content


class TestRoundTrip:
    names = st.from_regex(r"[a-z0-9_]{1,6}(\.[a-z]{1,4})?", fullmatch=True)
    paths = st.builds(
        lambda root, parts: "/".join([root, *parts]),
        st.sampled_from(["inductor", "headers", "triton"]),
        st.lists(names, min_size=1, max_size=4),
    )
    sizes = st.one_of(st.integers(0, 5000), st.sampled_from(EDGES))

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(sizes=st.dictionaries(paths, sizes, max_size=8))
    def test_any_tree_comes_back_as_it_was(self, sizes):
        tree = {path: content_of(size, path) for path, size in sizes.items()}
        with tempfile.TemporaryDirectory() as folder:
            sources = []
            for number, (path, content) in enumerate(tree.items()):
                location = Path(folder, str(number))
                location.write_bytes(content)
                sources.append(PackSource(path, location))
            target, written = pack(sources)
        left_out = {path for path, _ in written.skipped}
        kept = {path: content for path, content in tree.items() if path not in left_out}
        assert unpack(target, written.name) == kept
        for path, reason in written.skipped:
            assert path_fault(path) or "folder" in reason or "below another file" in reason

    def test_files_that_end_at_a_frame_boundary_do_not_run_into_each_other(self, tmp_path):
        tree = {
            f"inductor/{number}": content_of(size, number)
            for number, size in enumerate((*EDGES, *reversed(EDGES)))
        }
        target, written = pack(lay_out(tmp_path, tree))
        assert unpack(target, written.name) == tree
        assert all(0 < frame.size <= FRAME_SIZE for frame in written.index.frames)

    def test_no_file_at_all_is_a_pack_too(self):
        target, written = pack([])
        assert unpack(target, written.name) == {}
        assert written.size == len(target.getvalue())

    def test_only_empty_files_need_no_frame(self, tmp_path):
        target, written = pack(lay_out(tmp_path, {"inductor/a": b"", "unguarded/b": b""}))
        assert written.index.frames == ()
        assert unpack(target, written.name) == {"inductor/a": b"", "unguarded/b": b""}

    def test_the_index_comes_back_as_it_was_written(self, tmp_path):
        sources = lay_out(tmp_path, {"inductor/ab/kernel.py": b"x", "inductor/größe": b"yy"})
        target, written = pack(sources, supersedes=["a" * 64, "b" * 64], created=12.5)
        reader = PackReader(target, name=written.name)
        assert reader.index == written.index
        assert reader.size == written.size == len(target.getvalue())
        assert (reader.index.environment, reader.index.created) == (ENVIRONMENT, 12.5)
        assert reader.index.supersedes == ("a" * 64, "b" * 64)

    def test_each_file_says_the_digest_of_its_content(self, tmp_path):
        tree = {"inductor/small": b"abc", "inductor/large": content_of(FRAME_SIZE + 5)}
        _, written = pack(lay_out(tmp_path, {**tree, "inductor/empty": b""}))
        for file in written.index.files:
            content = tree.get(file.path, b"")
            assert file.digest == hashlib.sha256(content).hexdigest()

    def test_small_files_share_a_frame(self, tmp_path):
        tree = {f"inductor/{number}": content_of(100, number) for number in range(50)}
        _, written = pack(lay_out(tmp_path, tree))
        assert len(written.index.frames) == 1

    @pytest.mark.parametrize(
        ("before", "after"),
        [(0o644, 0o600), (0o755, 0o700), (0o4755, 0o700), (0o2666, 0o600), (0o700, 0o700)],
        ids=oct,
    )
    def test_of_the_mode_only_the_execute_bit_is_kept(self, tmp_path, before, after):
        sources = lay_out(tmp_path, {"inductor/a.so": b"x"})
        sources[0].location.chmod(before)
        _, written = pack(sources)
        assert oct(written.index.files[0].mode) == oct(after)

    def test_the_same_files_at_the_same_time_make_the_same_pack(self, tmp_path):
        sources = lay_out(
            tmp_path, {f"inductor/{n}": content_of(FRAME_SIZE // 2, n) for n in range(9)}
        )
        first, second = pack(sources)[0], pack(sources)[0]
        assert first.getvalue() == second.getvalue()

    def test_the_name_is_the_digest_of_the_index_as_stored(self, tmp_path):
        target, written = pack(lay_out(tmp_path, {"inductor/a": b"x"}))
        content = target.getvalue()
        length = FOOTER.unpack(content[-FOOTER.size :])[0]
        stored = content[-FOOTER.size - length : -FOOTER.size]
        assert written.name == hashlib.sha256(stored).hexdigest()

    def test_a_target_that_can_only_be_written_to_is_enough(self, tmp_path):
        class Pipe:
            content = b""

            def write(self, piece):
                self.content += piece

        sources = lay_out(tmp_path, {"inductor/a": content_of(FRAME_SIZE * 3)})
        pipe, written = pack(sources, Pipe())
        assert len(unpack(io.BytesIO(pipe.content), written.name)["inductor/a"]) == FRAME_SIZE * 3


class TestLeftOut:
    """Whatever is wrong with one source, the others are packed whole."""

    def pack_between(self, tmp_path, bad):
        good = {"inductor/before": b"before", "inductor/zz/after": b"after"}
        before, after = lay_out(tmp_path / "good", good)
        target, written = pack([before, bad, after])
        assert unpack(target, written.name) == good
        ((path, reason),) = written.skipped
        assert path == bad.path
        return reason

    def test_a_file_that_vanished(self, tmp_path):
        reason = self.pack_between(tmp_path, PackSource("inductor/x", tmp_path / "gone"))
        assert reason == "it vanished"

    def test_a_symbolic_link_is_not_followed(self, tmp_path):
        (tmp_path / "secret").write_bytes(b"secret")
        (tmp_path / "link").symlink_to(tmp_path / "secret")
        reason = self.pack_between(tmp_path, PackSource("inductor/x", tmp_path / "link"))
        assert reason == "it is a symbolic link"

    def test_a_folder(self, tmp_path):
        (tmp_path / "folder").mkdir()
        reason = self.pack_between(tmp_path, PackSource("inductor/x", tmp_path / "folder"))
        assert reason == "it is not a regular file"

    def test_a_pipe_that_nobody_writes_to_does_not_hold_the_save(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        reason = self.pack_between(tmp_path, PackSource("inductor/x", tmp_path / "pipe"))
        assert reason == "it is not a regular file"

    def test_a_socket(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # the names of sockets are short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("s")
            reason = self.pack_between(tmp_path, PackSource("inductor/x", tmp_path / "s"))
        assert reason == "it is not a regular file"

    def test_a_file_that_cannot_be_read(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        reason = self.pack_between(tmp_path, PackSource("inductor/x", tmp_path / "file" / "below"))
        assert reason.startswith("it cannot be read: ")

    def test_a_read_that_fails_half_way(self, tmp_path, monkeypatch):
        bad = lay_out(tmp_path, {"inductor/bad": b"bad content"})[0]
        inode, read = bad.location.stat().st_ino, os.read

        def failing(descriptor, size):
            if os.fstat(descriptor).st_ino == inode:
                raise OSError(5, "Input/output error")
            return read(descriptor, size)

        monkeypatch.setattr(os, "read", failing)
        assert "Input/output error" in self.pack_between(tmp_path, bad)

    @pytest.mark.parametrize("size", [10, FRAME_SIZE, FRAME_SIZE + 1, 3 * FRAME_SIZE + 5])
    @pytest.mark.parametrize("change", ["grows", "shrinks", "is rewritten"])
    def test_a_file_that_changes_while_it_is_read(self, tmp_path, monkeypatch, size, change):
        bad = lay_out(tmp_path, {"inductor/bad": content_of(size)})[0]
        inode, read, done = bad.location.stat().st_ino, os.read, []

        def meddling(descriptor, length):
            chunk = read(descriptor, length)
            if os.fstat(descriptor).st_ino == inode and not done:
                done.append(True)
                if change == "grows":
                    with bad.location.open("ab") as file:
                        file.write(b"more")
                elif change == "shrinks":
                    os.truncate(bad.location, size // 2)
                else:
                    os.utime(bad.location, ns=(1, 1))
            return chunk

        monkeypatch.setattr(os, "read", meddling)
        assert self.pack_between(tmp_path, bad) == "it changed while it was read"

    def test_a_small_file_that_changes_leaves_no_bytes_behind(self, tmp_path, monkeypatch):
        bad, good = lay_out(tmp_path, {"inductor/bad": b"bad", "inductor/good": b"good"})
        read = os.read

        def touching(descriptor, length):
            os.utime(bad.location, ns=(1, 1))
            return read(descriptor, length)

        monkeypatch.setattr(os, "read", touching)
        _, written = pack([bad, good])
        assert [file.path for file in written.index.files] == ["inductor/good"]
        assert [frame.size for frame in written.index.frames] == [len(b"good")]

    @pytest.mark.parametrize("size", [10, FRAME_SIZE + 1])
    def test_a_file_that_ends_before_its_size(self, tmp_path, monkeypatch, size):
        bad = lay_out(tmp_path, {"inductor/bad": content_of(size)})[0]
        inode, read = bad.location.stat().st_ino, os.read

        def ending(descriptor, length):
            if os.fstat(descriptor).st_ino == inode:
                return b""
            return read(descriptor, length)

        monkeypatch.setattr(os, "read", ending)
        assert self.pack_between(tmp_path, bad) == "it changed while it was read"

    def test_a_file_that_is_replaced_while_it_is_read_is_packed_as_it_was(
        self, tmp_path, monkeypatch
    ):
        source = lay_out(tmp_path, {"inductor/a": b"the old one"})[0]
        read = os.read

        def replacing(descriptor, length):
            (tmp_path / "new").write_bytes(b"the new one")
            (tmp_path / "new").replace(source.location)
            return read(descriptor, length)

        monkeypatch.setattr(os, "read", replacing)
        target, written = pack([source])
        assert unpack(target, written.name) == {"inductor/a": b"the old one"}

    def test_reads_that_give_less_than_was_asked_for_are_continued(self, tmp_path, monkeypatch):
        read = os.read
        monkeypatch.setattr(os, "read", lambda descriptor, size: read(descriptor, min(size, 7)))
        tree = {"inductor/a": content_of(1000)}
        target, written = pack(lay_out(tmp_path, tree))
        assert unpack(target, written.name) == tree

    def test_a_path_that_is_named_twice(self, tmp_path):
        (tmp_path / "other").write_bytes(b"other")
        bad = PackSource("inductor/before", tmp_path / "other")
        assert self.pack_between(tmp_path, bad) == "its path is named twice"

    def test_a_path_below_another_file(self, tmp_path):
        (tmp_path / "other").write_bytes(b"other")
        bad = PackSource("inductor/before/below", tmp_path / "other")
        assert self.pack_between(tmp_path, bad) == "its path lies below another file"

    def test_a_path_that_is_a_folder_of_others(self, tmp_path):
        first, second = lay_out(tmp_path, {"inductor/a/b": b"x", "headers/h": b"y"})
        target, written = pack([first, PackSource("inductor/a", second.location), second])
        assert set(unpack(target, written.name)) == {"inductor/a/b", "headers/h"}
        assert written.skipped == (("inductor/a", "its path is a folder of other paths"),)

    def test_a_path_that_no_pack_may_hold(self, tmp_path):
        (tmp_path / "other").write_bytes(b"other")
        bad = PackSource("inductor/../../etc/passwd", tmp_path / "other")
        assert self.pack_between(tmp_path, bad) == "its path has a component '.' or '..'"


class TestLimit:
    def test_a_pack_of_just_the_limit_is_written(self, tmp_path):
        sources = lay_out(tmp_path, {"inductor/a": noise(5000)})
        size = pack(sources)[1].size
        assert pack(sources, max_bytes=size)[1].size == size

    @pytest.mark.parametrize("less", [1, 100, 4000])
    def test_not_one_byte_more_than_the_limit_is_ever_written(self, tmp_path, less):
        sources = lay_out(tmp_path, {"inductor/a": noise(5000), "inductor/b": noise(FRAME_SIZE)})
        limit = pack(sources)[1].size - less
        target = io.BytesIO()
        with pytest.raises(PackTooLargeError) as caught:
            pack(sources, target, max_bytes=limit)
        assert len(target.getvalue()) <= limit < caught.value.size

    def test_the_error_tells_sizes_and_remedy_and_crosses_processes(self, tmp_path):
        sources = lay_out(tmp_path, {"inductor/a": noise(5000)})
        with pytest.raises(PackTooLargeError) as caught:
            pack(sources, max_bytes=1000)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(copy, PackError)
        assert (copy.size, copy.limit) == (caught.value.size, 1000)
        assert "1,000 are allowed" in str(copy)
        assert copy.remedy

    def test_a_full_target_is_an_error_and_not_a_source_to_leave_out(self, tmp_path):
        class Full(io.BytesIO):
            def write(self, piece):
                raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            pack(lay_out(tmp_path, {"inductor/a": b"x"}), Full())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"environment": "../other"},
            {"environment": ""},
            {"created": float("nan")},
            {"created": -1.0},
            {"supersedes": ["no digest"]},
            {"supersedes": ["a" * 64] * 2},
        ],
        ids=str,
    )
    def test_what_a_reader_would_refuse_is_not_written(self, wrong):
        target = io.BytesIO()
        with pytest.raises(ValueError, match=r"is|has"):
            pack([], target, **wrong)
        assert target.getvalue() == b""


class TestExtract:
    @pytest.fixture
    def tree(self):
        return {
            "inductor/first": noise(FRAME_SIZE),
            "inductor/small": noise(10),
            "inductor/empty": b"",
            "inductor/large": noise(2 * FRAME_SIZE),
            "unguarded/last": noise(10),
        }

    @pytest.fixture
    def packed(self, tmp_path, tree):
        target, written = pack(lay_out(tmp_path, tree))
        return target.getvalue(), written

    def frame_reads(self, source, written):
        starts, position = {}, 12
        for number, frame in enumerate(written.index.frames):
            starts[position] = number
            position += frame.stored
        return [starts[start] for start, _ in source.reads if start in starts]

    def test_files_come_in_the_order_in_which_they_are_stored(self, packed, tree):
        content, written = packed
        assert list(unpack(io.BytesIO(content), written.name, set(tree))) == list(tree)

    def test_frames_that_are_not_needed_are_not_read(self, packed):
        content, written = packed
        source = CountingSource(content)
        reader = PackReader(source, name=written.name)
        source.reads.clear()
        for _, chunks in reader.extract({"inductor/first", "unguarded/last"}):
            list(chunks)
        assert self.frame_reads(source, written) == [0, 3]

    def test_each_needed_frame_is_read_once(self, packed, tree):
        content, written = packed
        source = CountingSource(content)
        reader = PackReader(source, name=written.name)
        source.reads.clear()
        assert {file.path: b"".join(chunks) for file, chunks in reader.extract(tree)} == tree
        assert self.frame_reads(source, written) == [0, 1, 2, 3]

    def test_nothing_wanted_reads_nothing(self, packed):
        content, written = packed
        source = CountingSource(content)
        reader = PackReader(source, name=written.name)
        source.reads.clear()
        assert list(reader.extract([])) == []
        assert source.reads == []

    def test_a_path_that_is_not_there_is_a_key_error(self, packed):
        content, written = packed
        reader = PackReader(io.BytesIO(content), name=written.name)
        with pytest.raises(KeyError, match="inductor/none"):
            reader.extract(["inductor/first", "inductor/none"])

    def test_a_file_whose_content_nobody_takes_is_skipped(self, packed, tree):
        content, written = packed
        reader = PackReader(io.BytesIO(content), name=written.name)
        taken = {}
        for file, chunks in reader.extract(tree):
            if file.path == "inductor/large":
                next(chunks)
            elif file.path != "inductor/first":
                taken[file.path] = b"".join(chunks)
        assert taken == {path: tree[path] for path in taken}
        assert len(taken) == 3

    def test_an_extraction_that_is_broken_off_can_begin_again(self, packed, tree):
        content, written = packed
        reader = PackReader(io.BytesIO(content), name=written.name)
        for _, chunks in reader.extract(tree):
            next(chunks)
            break
        again = {file.path: b"".join(chunks) for file, chunks in reader.extract(tree)}
        assert again == tree

    def test_no_thread_is_left_behind(self, packed, tree, tmp_path):
        content, written = packed
        before = threading.active_count()
        unpack(io.BytesIO(content), written.name)
        pack([PackSource(path, tmp_path / path) for path in tree])
        assert threading.active_count() == before

    def test_an_extraction_given_up_in_a_cycle_ends_on_any_thread(self, packed, tree):
        content, written = packed
        reader = PackReader(io.BytesIO(content), name=written.name)
        for _ in range(5):
            cycle = [extraction := reader.extract(tree)]
            cycle.append(cycle)
            next(next(extraction)[1])
            del extraction, cycle
        collector = threading.Thread(target=gc.collect)
        collector.start()
        collector.join(30)
        assert not collector.is_alive()
        assert unpack(io.BytesIO(content), written.name) == tree

    def test_a_damaged_frame_costs_only_the_files_in_it(self, packed, tree):
        content, written = packed
        damaged = bytearray(content)
        second = 12 + written.index.frames[0].stored
        damaged[second + written.index.frames[1].stored // 2] ^= 1
        reader = PackReader(io.BytesIO(damaged), name=written.name)
        whole, broken = {}, []
        for file, chunks in reader.extract(tree):
            try:
                whole[file.path] = b"".join(chunks)
            except PackError as error:
                assert error.subject == written.name
                assert "frame 1" in error.reason
                broken.append(file.path)
        assert broken == ["inductor/small", "inductor/large"]
        assert whole == {path: tree[path] for path in tree if path not in broken}

    def test_a_source_that_reads_in_small_pieces_is_read_to_the_end(self, packed, tree):
        class Slow(io.BytesIO):
            def read(self, size=-1):
                return super().read(min(size, 1 << 20))

        content, written = packed
        assert unpack(Slow(content), written.name) == tree

    def test_trouble_of_the_store_is_not_taken_for_a_damaged_pack(self, packed, tree):
        class Dying(io.BytesIO):
            def read(self, size=-1):
                if size > 1 << 20:
                    raise TimeoutError("the store does not answer")
                return super().read(size)

        content, written = packed
        reader = PackReader(Dying(content), name=written.name)
        with pytest.raises(TimeoutError):
            for _, chunks in reader.extract(tree):
                list(chunks)


MEMORY = """
import os, resource, sys
from pathlib import Path
from pytest_compilecache.pack import PackReader, PackSource, write_pack

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def save(path):
    with open("pack", "wb") as file:
        source = PackSource("inductor/large", Path(path))
        return write_pack(file, [source], environment="e", created=1.0).name

def restore(name):
    with open("pack", "rb") as file:
        for _, chunks in PackReader(file, name=name).extract(["inductor/large"]):
            return sum(map(len, chunks))

assert restore(save("little")) == 1000
before = peak()
name = save("large")
print(peak() - before)
assert restore(name) == 64 << 20
print(peak() - before)
"""


def test_a_file_of_64_mb_takes_the_memory_of_a_few_frames(tmp_path):
    (tmp_path / "little").write_bytes(bytes(1000))
    with (tmp_path / "large").open("wb") as file:
        for _ in range(64):
            file.write(noise(1 << 20))
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    saving, both = map(float, run.stdout.split())
    assert saving < 48
    assert both < 48


def test_importing_packs_and_stores_is_light():
    heavy = "{'zstandard', 'torch', 'pytest', 'concurrent.futures', 'urllib.request', 'asyncio'}"
    code = (
        "import sys, pytest_compilecache.pack, pytest_compilecache.store.catalog\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_packed_file_can_be_written_with_its_mode(tmp_path):
    sources = lay_out(tmp_path, {"inductor/a.so": b"x"})
    sources[0].location.chmod(0o777)
    mode = pack(sources)[1].index.files[0].mode
    assert not mode & (stat.S_IRWXG | stat.S_IRWXO | stat.S_ISUID | stat.S_ISGID)
