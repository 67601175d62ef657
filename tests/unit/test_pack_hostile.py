"""Packs by anybody: torn, forged, hostile. None is believed, and none takes more than it may."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tracemalloc
import unicodedata

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pytest_compilecache.errors import PackError
from pytest_compilecache.pack import PackReader, PackSource, reading, write_pack
from pytest_compilecache.pack.paths import PathSet, path_fault

MIB = 1 << 20
NAME = "0" * 64


def digest(content):
    return hashlib.sha256(content).hexdigest()


def squeeze(content, **parameters):
    return zstandard.ZstdCompressor(**parameters).compress(content)


def assemble(stored_index, frames=(), *, size=0, signature=b"", version=1):
    """A pack of these sections, written without the code under test; and its name."""
    header = b"\x89CCPACK\n" + struct.pack("<I", version)
    footer = struct.pack("<4I", len(stored_index), size, len(signature), version)
    content = header + b"".join(frames) + stored_index + signature + footer + b"CCPACK\n\x89"
    return content, digest(stored_index)


def forge(index, frames=(), **options):
    """A pack with any index: a mapping, or the text itself."""
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    return assemble(squeeze(text), frames, size=len(text), **options)


FIRST, SECOND = b"a" * 100, b"b" * 50
FRAMES = [squeeze(FIRST), squeeze(SECOND)]


def good_index(frames=FRAMES, sizes=(100, 50)):
    return {
        "created": 1.5,
        "environment": "some-environment",
        "files": [
            ["headers/empty", 0, 0o600, digest(b""), 0, 0],
            ["inductor/a", 30, 0o600, digest(b"a" * 30), 0, 0],
            ["inductor/b/c", 100, 0o700, digest(b"a" * 70 + b"b" * 30), 0, 30],
            ["unguarded/d", 10, 0o600, digest(b"b" * 10), 1, 40],
        ],
        "frames": [
            [len(frame), size, digest(frame)] for frame, size in zip(frames, sizes, strict=True)
        ],
        "supersedes": ["1" * 64],
    }


def read(content, name):
    reader = PackReader(io.BytesIO(content), name=name)
    paths = [file.path for file in reader.index.files]
    return {file.path: b"".join(chunks) for file, chunks in reader.extract(paths)}


def refuse(content, name):
    with pytest.raises(PackError) as caught:
        read(content, name)
    assert caught.value.reason
    assert caught.value.remedy
    return caught.value.reason


def test_a_forged_pack_without_fault_is_read():
    assert read(*forge(good_index(), FRAMES)) == {
        "headers/empty": b"",
        "inductor/a": b"a" * 30,
        "inductor/b/c": b"a" * 70 + b"b" * 30,
        "unguarded/d": b"b" * 10,
    }


class TestDamage:
    @pytest.fixture
    def packed(self, tmp_path):
        folder = tmp_path
        sources = []
        for number in range(3):
            (folder / str(number)).write_bytes(b"content %d" % number)
            sources.append(PackSource(f"inductor/{number}", folder / str(number)))
        target = io.BytesIO()
        written = write_pack(target, sources, environment="some-environment", created=1.0)
        return target.getvalue(), written.name

    def test_each_byte_that_flips_is_noticed(self, packed):
        content, name = packed
        for position in range(len(content)):
            damaged = bytearray(content)
            damaged[position] ^= 0xFF
            refuse(damaged, name)

    def test_each_bit_of_header_and_footer_that_flips_is_noticed(self, packed):
        content, name = packed
        ends = [*range(12), *range(len(content) - 24, len(content))]
        for position in ends:
            for bit in range(8):
                damaged = bytearray(content)
                damaged[position] ^= 1 << bit
                refuse(damaged, name)

    def test_a_pack_that_was_cut_anywhere_is_noticed(self, packed):
        content, name = packed
        for length in range(len(content)):
            refuse(content[:length], name)

    def test_a_pack_that_lost_its_beginning_is_noticed(self, packed):
        content, name = packed
        for length in range(1, len(content)):
            refuse(content[length:], name)

    def test_bytes_behind_the_end_are_noticed(self, packed):
        content, name = packed
        refuse(content + b"\0", name)
        refuse(content + content, name)

    def test_bytes_between_the_frames_and_the_index_are_noticed(self):
        content, name = forge(good_index(), [*FRAMES, b"more"])
        assert "do not fill" in refuse(content, name)

    def test_a_pack_under_the_name_of_another_is_noticed(self, packed):
        assert "named after" in refuse(packed[0], NAME)

    @pytest.mark.parametrize("name", ["", "0" * 63, "A" * 64, "../" + "0" * 61, None, b"0" * 64])
    def test_a_name_that_is_no_digest_opens_nothing(self, packed, name):
        assert "not the name" in refuse(packed[0], name)

    def test_a_later_version_is_told_from_damage(self):
        content, name = forge(good_index(), FRAMES, version=2)
        assert "version 2" in refuse(content, name)

    def test_a_signature_is_stepped_over(self):
        assert len(read(*forge(good_index(), FRAMES, signature=b"s" * 96))) == 4

    def test_a_signature_that_is_too_long_is_refused(self):
        assert "too long" in refuse(*forge(good_index(), FRAMES, signature=bytes(5000)))

    def test_frames_that_changed_places_are_noticed(self):
        frames = [squeeze(b"x" * 100), squeeze(b"y" * 100)]
        content, name = forge(good_index(frames, (100, 100)), frames[::-1])
        assert "frame 0" in refuse(content, name)


def changed(**values):
    return {**good_index(), **values}


def with_file(number, **values):
    index = good_index()
    names = ("path", "size", "mode", "digest", "frame", "offset")
    row = dict(zip(names, index["files"][number], strict=True)) | values
    index["files"][number] = list(row.values())
    return index


def with_frame(number, **values):
    index = good_index()
    row = dict(zip(("stored", "size", "digest"), index["frames"][number], strict=True)) | values
    index["frames"][number] = list(row.values())
    return index


def without(key):
    index = good_index()
    del index[key]
    return index


HOSTILE_INDEXES = {
    "no mapping": [],
    "null": None,
    "a key is missing": without("supersedes"),
    "a key is unknown": changed(extra=1),
    "files are a mapping": changed(files={}),
    "files are null": changed(files=None),
    "files are text": changed(files="files"),
    "frames are a number": changed(frames=2),
    "a file is text of six letters": changed(files=["abcdef"]),
    "a file has too few fields": changed(files=[["inductor/a", 0]]),
    "a file has too many fields": changed(files=[["inductor/a", 0, 0o600, NAME, 0, 0, 0]]),
    "a frame has too few fields": changed(frames=[[1, 2]]),
    "more frames than are allowed": changed(frames=[[1, 1, NAME]] * 4097),
    "more files than are allowed": changed(files=[[]] * 100_001),
    "environment is a path": changed(environment="../other"),
    "environment is empty": changed(environment=""),
    "environment is null": changed(environment=None),
    "environment is too long": changed(environment="e" * 201),
    "environment ends in a line break": changed(environment="e\n"),
    "created is text": changed(created="now"),
    "created is a truth": changed(created=True),
    "created is before 1970": changed(created=-1),
    "created is no number": changed(created=float("nan")),
    "created is infinite": changed(created=float("inf")),
    "created is after all calendars": changed(created=1e12),
    "supersedes is a mapping": changed(supersedes={}),
    "supersedes a path": changed(supersedes=["../../x"]),
    "supersedes a number": changed(supersedes=[1]),
    "supersedes a list": changed(supersedes=[[]]),
    "supersedes one pack twice": changed(supersedes=[NAME, NAME]),
    "supersedes too many": changed(supersedes=[f"{n:064x}" for n in range(10_001)]),
    "a frame stores nothing": with_frame(0, stored=0),
    "a frame stores less than nothing": with_frame(0, stored=-1),
    "a frame stores too much": with_frame(0, stored=5 * MIB),
    "a frame stores one byte more": with_frame(0, stored=len(FRAMES[0]) + 1),
    "a frame stores a fraction": with_frame(0, stored=1.0),
    "a frame stores a truth": with_frame(0, stored=True),
    "a frame holds nothing": with_frame(0, size=0),
    "a frame holds more than a frame": with_frame(0, size=4 * MIB + 1),
    "a frame holds more than it says": with_frame(0, size=101),
    "a frame holds an immense number": with_frame(0, size=10**30),
    "a frame's digest is short": with_frame(0, digest="0"),
    "a frame's digest is in capitals": with_frame(0, digest=digest(FRAMES[0]).upper()),
    "a frame's digest is null": with_frame(0, digest=None),
    "a file's digest is short": with_file(1, digest="0"),
    "a file's size is negative": with_file(1, size=-1),
    "a file's size is text": with_file(1, size="30"),
    "a file's size is a truth": with_file(1, size=True),
    "a file is larger than all frames": with_file(3, size=1 << 40),
    "a file ends behind the last frame": with_file(3, size=11),
    "a file begins behind the last frame": with_file(3, frame=2, offset=0),
    "a file begins in a frame far away": with_file(3, frame=4000),
    "a file's frame is negative": with_file(3, frame=-1),
    "a file begins behind its frame": with_file(3, offset=50),
    "a file's offset is in the next frame": with_file(2, offset=100, size=1),
    "a file's offset is negative": with_file(1, offset=-1),
    "a file's offset is a fraction": with_file(1, offset=0.0),
    "a file overlaps the one before": with_file(2, offset=29),
    "a file lies before the one before": with_file(3, frame=0, offset=0),
    "two files share their bytes": with_file(2, offset=0, size=30),
    "an empty file lies somewhere": with_file(0, offset=1),
    "an empty file lies in a frame": with_file(0, frame=1),
    "an executable for everybody": with_file(1, mode=0o755),
    "set user id": with_file(1, mode=0o4700),
    "no permission": with_file(1, mode=0),
    "a negative mode": with_file(1, mode=-1),
    "a mode in text": with_file(1, mode="600"),
    "a mode that is a list": with_file(1, mode=[]),
    "one path twice": with_file(1, path="inductor/b/c"),
    "a file that is a folder of a later one": with_file(1, path="inductor/b"),
    "a file below an earlier one": with_file(2, path="inductor/a/b"),
    "a file far below an earlier one": with_file(2, path="inductor/a/b/c/d"),
    "a path that is a number": with_file(1, path=7),
    "a path that is null": with_file(1, path=None),
    "a path that is a list": with_file(1, path=[]),
    "a path that leads out": with_file(1, path="inductor/../../x"),
}


@pytest.mark.parametrize("fault", HOSTILE_INDEXES)
def test_an_index_with_a_fault_is_refused(fault):
    reason = refuse(*forge(HOSTILE_INDEXES[fault], FRAMES))
    assert "index is not valid" in reason or "do not fill" in reason or "frame 0" in reason
    assert len(reason) < 300


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        json.dumps(good_index()).encode("utf-16"),
        b'{"created":' + b"9" * 10_000 + b"}",
        b'{"files":' * 40_000 + b"}" * 40_000,
        b"[" * 90_000 + b"]" * 90_000,
        b"[" * 5_000_000,
    ],
    ids=["empty", "torn", "no UTF-8", "marked", "UTF-16", "digits", "deep", "lists", "bomb"],
)
def test_an_index_that_is_no_proper_json_is_refused(text):
    assert "index is not valid" in refuse(*forge(text, FRAMES))


BAD_PATHS = [
    "",
    "/",
    "a",
    "inductor",
    "inductor/",
    "/inductor/a",
    "//inductor/a",
    "inductor//a",
    "inductor/a/",
    "./inductor/a",
    "inductor/./a",
    "inductor/a/.",
    "inductor/../a",
    "../inductor/a",
    "inductor/a/..",
    "inductor/...",
    "inductor/a.",
    "inductor/a ",
    "inductor/a /b",
    "Inductor/a",
    "inductors/a",
    "dynamo/a",
    "etc/passwd",
    "~/a",
    "C:/a",
    "inductor/C:",
    "inductor/a:stream",
    "inductor\\a",
    "inductor/a\\b",
    "inductor/..\\a",
    "inductor/a\0b",
    "inductor/a\n",
    "inductor/\x1b[31m",
    "inductor/a\x7f",
    "inductor/a\x85",
    "inductor/\u202egnp.so",
    "inductor/a\u2028b",
    "inductor/\ud800",
    "inductor/\ufeffa",
    unicodedata.normalize("NFD", "inductor/größe"),
    "inductor/" + "a" * 256,
    "inductor/" + "ä" * 128,
    "inductor/" + "/".join(["a" * 100] * 11),
    "inductor/" + "/".join(["ä" * 100] * 6),
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=ascii)
def test_a_path_that_could_do_harm_is_refused(path):
    assert path_fault(path)
    reason = refuse(*forge(with_file(1, path=path), FRAMES))
    assert "the path" in reason
    assert reason.isprintable()


@pytest.mark.parametrize(
    "path",
    [
        "inductor/a",
        "inductor/fxgraph/ab/fabc/0123",
        "inductor/2j/c2jwha4v5or7joni27hgw6kf.main.so",
        "inductor/.hidden",
        "inductor/..a",
        "inductor/a b",
        "inductor/console.py",
        "inductor/com10",
        "inductor/a[1]{2}",
        "headers/header.hpp.gch",
        "unguarded/0/ABCDEF/triton_poi_fused.cubin",
        "inductor/größe",
        "inductor/" + "a" * 255,
    ],
)
def test_a_path_as_compilers_make_it_is_taken(path):
    assert path_fault(path) is None
    assert path in read(*forge(with_file(1, path=path), FRAMES))


@given(st.text(st.sampled_from("abc/.\\: \0"), max_size=12).map("inductor/".__add__))
def test_a_path_that_is_taken_leads_nowhere_else(path):
    if path_fault(path) is None:
        parts = path.split("/")
        assert not {"", ".", ".."} & set(parts)
        assert not set("\\:\0") & set(path)


@given(st.lists(st.text(st.sampled_from("ab/"), min_size=1, max_size=6), max_size=8))
def test_paths_that_are_taken_together_can_all_be_files(paths):
    together = PathSet()
    taken = [path for path in map("unguarded/".__add__, paths) if together.add(path) is None]
    assert len(set(taken)) == len(taken)
    assert not any(one.startswith(f"{other}/") for one in taken for other in taken)


def zstd_header(size, window_log=22):
    """The header of a frame that declares a size, and a window of its own."""
    return struct.pack("<IBBI", 0xFD2FB528, 0x80, (window_log - 10) << 3, size)


def raw_block(content):
    return struct.pack("<I", len(content) << 3 | 1)[:3] + content


def refuse_cheaply(content, name):
    tracemalloc.start()
    try:
        reason = refuse(content, name)
        assert tracemalloc.get_traced_memory()[1] < 9 * MIB
    finally:
        tracemalloc.stop()
    return reason


class TestBombs:
    def refuse_frame(self, frame, size=100):
        index = good_index() | {"frames": [[len(frame), size, digest(frame)]]}
        index["files"] = [["inductor/a", size, 0o600, NAME, 0, 0]]
        return refuse_cheaply(*forge(index, [frame]))

    def test_a_frame_made_by_hand_is_read(self):
        frame = zstd_header(100) + raw_block(FIRST)
        index = good_index() | {"frames": [[len(frame), 100, digest(frame)]]}
        index["files"] = [["inductor/a", 100, 0o600, NAME, 0, 0]]
        assert read(*forge(index, [frame])) == {"inductor/a": FIRST}

    def test_a_frame_that_declares_more_than_the_index(self):
        assert "another size" in self.refuse_frame(squeeze(bytes(1 << 28)))

    def test_a_frame_that_declares_nothing(self):
        frame = squeeze(bytes(1 << 28), write_content_size=False)
        assert "another size" in self.refuse_frame(frame)

    def test_a_frame_that_declares_as_the_index_and_holds_more(self):
        frame = zstd_header(100) + raw_block(bytes(50_000))
        assert "frame 0 is not valid" in self.refuse_frame(frame)

    def test_a_frame_that_declares_as_the_index_and_holds_less(self):
        frame = zstd_header(100) + raw_block(bytes(99))
        assert "frame 0 is not valid" in self.refuse_frame(frame)

    def test_a_frame_that_wants_a_wide_window(self):
        frame = zstd_header(100, window_log=31) + raw_block(FIRST)
        assert "window" in self.refuse_frame(frame)

    def test_a_frame_behind_a_frame(self):
        assert "frame 0 is not valid" in self.refuse_frame(squeeze(FIRST) + squeeze(FIRST))

    def test_a_frame_that_zstd_skips(self):
        frame = struct.pack("<II", 0x184D2A50, 100) + FIRST
        assert "frame 0 is not valid" in self.refuse_frame(frame)

    def test_a_frame_that_needs_a_dictionary(self):
        dictionary = zstandard.ZstdCompressionDict(b"dictionary" * 100)
        frame = zstandard.ZstdCompressor(dict_data=dictionary).compress(b"dictionary" * 10)
        assert "frame 0" in self.refuse_frame(frame)

    def test_a_frame_that_is_not_zstd(self):
        assert "frame 0 is not valid" in self.refuse_frame(FIRST)

    def test_an_index_that_declares_more_than_the_footer(self):
        assert "another size" in refuse_cheaply(*assemble(squeeze(bytes(1 << 28)), size=100))

    def test_an_index_that_declares_more_than_is_allowed(self):
        assert "too long" in refuse_cheaply(*assemble(squeeze(bytes(1 << 26)), size=1 << 26))

    def test_a_footer_that_says_an_immense_index(self):
        content, name = forge(good_index(), FRAMES)
        footer = struct.pack("<4I", 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 1) + b"CCPACK\n\x89"
        assert "too long" in refuse_cheaply(content[:-24] + footer, name)

    def test_an_index_that_is_stored_at_more_length_than_is_allowed(self):
        assert "too long" in refuse_cheaply(*assemble(bytes(17 * MIB), size=100))

    def test_an_index_of_a_million_empty_lists_is_not_even_parsed(self):
        text = json.dumps(changed(files=[[]] * 1_000_000)).encode()
        assert "lists too much" in refuse_cheaply(*forge(text, FRAMES))

    def test_a_frame_that_gives_less_than_it_declared(self):
        class Liar:
            def decompress(self, stored, **_):
                return FIRST[1:]

        with pytest.raises(ValueError, match="does not hold what it declares"):
            reading._decompress(Liar(), FRAMES[0], len(FIRST))

    def test_a_footer_that_says_an_index_longer_than_the_pack(self):
        content, name = forge(good_index(), FRAMES)
        footer = struct.pack("<4I", 1 << 20, 100, 0, 1) + b"CCPACK\n\x89"
        assert "does not fit" in refuse_cheaply(content[:-24] + footer, name)

    def test_an_index_that_is_not_decompressed_before_its_name_is_checked(self, monkeypatch):
        content, _ = forge(good_index(), FRAMES)
        monkeypatch.setattr(zstandard, "get_frame_parameters", None)
        assert "named after" in refuse_cheaply(content, NAME)

    def test_a_frame_that_is_not_decompressed_before_its_digest_is_checked(self, monkeypatch):
        content, name = forge(with_frame(0, digest=NAME), FRAMES)
        reader = PackReader(io.BytesIO(content), name=name)
        monkeypatch.setattr(zstandard, "get_frame_parameters", None)
        with pytest.raises(PackError, match="frame 0 is not what the index says"):
            [list(chunks) for _, chunks in reader.extract(["inductor/a"])]
