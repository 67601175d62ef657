"""Packs by anybody, through a whole restore: never wrong bytes, nothing outside, one trouble each.

``COMPILECACHE_TESTS=soak`` takes 10,000 mutants of each sort in place of 150.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections.abc import Iterator

import pytest
import zstandard

from pytest_compilecache.cache import CacheResult, OperationStatus
from pytest_compilecache.errors import PackError
from pytest_compilecache.pack import PackReader
from pytest_compilecache.workspace.place import STAMP
from tests.crash.extent import SOAK, stride
from tests.security.forging import CONTENTS, FILES, Forgery, digest, squeeze, valid
from tests.security.mutants import blind, structured
from tests.security.scene import ENVIRONMENT, GOOD, GOOD_CONTENT, Scene, assert_told_well

BATCHES = range(10 if SOAK else 2)
MUTANTS = 1000 if SOAK else 75
# In the short form a sample goes through a whole restore: each byte, each field and each bomb
# is tried on the reader alone in `tests/unit/test_pack_hostile.py`.
EACH = stride(7)
KIB = 1024


def seeds(batch: int) -> Iterator[int]:
    yield from range(batch * MUTANTS, (batch + 1) * MUTANTS)


def restored(scene: Scene, result: CacheResult) -> dict[str, bytes]:
    """What arrived; and whatever the pack is, these hold."""
    assert result.usable
    assert scene.stamp() == ENVIRONMENT.id
    assert_told_well(result)
    status = OperationStatus.ERROR if result.troubles else OperationStatus.SUCCESS
    assert result.status is status
    assert len(result.troubles) <= 1, result.troubles
    return scene.restored()


def expect_miss_or_whole(scene: Scene, result: CacheResult, files: dict[str, bytes]) -> None:
    """What arrived is as it was packed; all of it, or else there is a trouble."""
    found = restored(scene, result)
    assert found.pop(GOOD) == GOOD_CONTENT
    assert found.items() <= files.items()
    assert result.troubles or found == files


class TestDamage:
    def test_pack_without_fault_is_restored(self, scene: Scene):
        before = scene.outside()
        location = scene.add(*valid().build())
        result = scene.restore()
        location.unlink()
        assert not result.troubles
        assert restored(scene, result) == {**FILES, GOOD: GOOD_CONTENT}
        assert scene.outside() == before

    def test_each_flipped_byte_is_a_miss(self, scene: Scene):
        content, name = valid().build()
        for position in range(0, len(content), EACH):
            damaged = bytearray(content)
            damaged[position] ^= 0xFF
            scene.add(bytes(damaged), name)
            result = scene.restore(notes=position % 10 == 0)
            assert result.troubles, position
            expect_miss_or_whole(scene, result, FILES)
            scene.forget()

    def test_flipped_byte_in_a_frame_that_is_not_needed_changes_nothing(self, scene: Scene):
        forgery = valid()
        content, name = forgery.build()
        start = content.index(forgery.frames[0])
        for position in range(start, start + len(forgery.frames[0]), EACH):
            damaged = bytearray(content)
            damaged[position] ^= 0xFF
            scene.add(bytes(damaged), name)
            for path in ("inductor/a/ca.main.cpp", "inductor/b/cb.main.cpp"):
                scene.write(path, FILES[path])
            scene.workspace.inductor.chmod(0o700)
            result = scene.restore()
            assert not result.troubles, position
            assert (scene.workspace.headers / "c.h").read_bytes() == FILES["headers/c.h"]
            assert (scene.workspace.inductor / "a/ca.main.cpp").read_bytes() == CONTENTS[0][:30]
            scene.forget()

    def test_pack_cut_at_every_kilobyte_is_a_miss(self, scene: Scene):
        body = random.Random(0).randbytes(100 * KIB)
        frame = squeeze(body)
        forgery = valid()
        forgery.frames = [frame]
        forgery.index["frames"] = [[len(frame), len(body), digest(frame)]]
        forgery.index["files"] = [["inductor/x/cx.cpp", len(body), 0o600, digest(body), 0, 0]]
        content, name = forgery.build()
        lengths = range(0, len(content), EACH * KIB)
        assert len(lengths) > 100 // EACH
        for length in lengths:
            scene.add(content[:length], name)
            result = scene.restore()
            assert result.troubles, length
            expect_miss_or_whole(scene, result, {})
            scene.forget()

    @pytest.mark.parametrize("batch", BATCHES)
    def test_blind_mutants_are_misses(self, batch: int, scene: Scene):
        content, name = valid().build()
        before = scene.outside()
        for seed in seeds(batch):
            rng = random.Random(f"blind {seed}")
            location = scene.add(blind(rng, content), name, age=rng.choice((-100, 100)))
            result = scene.restore(notes=seed % 10 == 0)
            location.unlink()
            try:
                expect_miss_or_whole(scene, result, FILES)
                assert scene.outside() == before
            except AssertionError as error:
                raise AssertionError(f"mutant {seed}") from error
            scene.forget()


def says(forgery: Forgery) -> set[str] | None:
    """The paths in the index of a pack, if it can be read at all."""
    stored = squeeze(forgery.text()) if forgery.stored is None else forgery.stored
    try:
        text = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stored)).read(1 << 25)
        return {row[0] for row in json.loads(text)["files"]}
    except (zstandard.ZstdError, ValueError, TypeError, KeyError, IndexError, RecursionError):
        return None


def expect_contained(scene: Scene, result: CacheResult, forgery: Forgery) -> None:
    """It is restored as its index says, or it is one trouble; the good pack is restored always."""
    found = restored(scene, result)
    listed = says(forgery)
    assert GOOD in found
    if GOOD not in (listed or ()):
        assert found[GOOD] == GOOD_CONTENT
    if not result.troubles:
        assert listed is not None
        assert set(found) == {path for path in listed if not path.startswith("unguarded/")} | {GOOD}


class TestMalice:
    @pytest.mark.parametrize("batch", BATCHES)
    def test_structured_mutants_stay_inside(self, batch: int, scene: Scene):
        before = scene.outside()
        for seed in seeds(batch):
            rng = random.Random(f"structured {seed}")
            forgery = structured(rng, str(scene.root))
            location = scene.add(*forgery.build(), age=rng.choice((-100, 100)))
            result = scene.restore(notes=seed % 10 == 0)
            location.unlink()
            try:
                expect_contained(scene, result, forgery)
                assert scene.outside() == before
            except AssertionError as error:
                raise AssertionError(f"mutant {seed}: {forgery.text()[:2000]!r}") from error
            scene.forget()

    def test_mutants_reach_what_they_are_meant_to_reach(self, scene: Scene):
        told: list[str] = []
        for seed in range(300):
            content, name = structured(random.Random(f"structured {seed}"), str(scene.root)).build()
            try:
                reader = PackReader(io.BytesIO(content), name=name)
                told += list(reader.damaged().values()) or ["nothing"]
            except PackError as error:
                told.append(error.reason)
        for words in (
            "nothing", "the path", "'..'", "backslash", "absolute", "is named twice", "printed",
            "lies below another file", "overlaps", "ends behind the last", "begins outside",
            "nested too deep", "does not have the keys", "is not a number", "is not a digest",
            "has mode", "is not a time", "frame 0", "frame 1", "do not fill", "zstd",
            "declares another size", "too long", "version", "does not begin and end",
        ):  # fmt: skip
            assert any(words in reason for reason in told), words


def forged_file(path: str, content: bytes = b"forged") -> tuple[bytes, str]:
    """A pack of one file."""
    forgery = valid()
    forgery.frames = [squeeze(content)]
    forgery.index["frames"] = [[len(forgery.frames[0]), len(content), digest(forgery.frames[0])]]
    forgery.index["files"] = [[path, len(content), 0o600, digest(content), 0, 0]]
    return forgery.build()


class TestPlaces:
    @pytest.mark.parametrize(
        "path",
        [
            f"inductor/{STAMP}",  # a session would take the folder for another environment's
            "inductor/locks/cgood.lock",  # whoever waits for the old one builds at the same time
            "inductor/dynamo/profile",  # makes a warm run compile
            "inductor/fxgraph/ab/fab/entry",  # of processes whose keys lack the instructions
            "inductor/aotautograd/aab/entry",
            "inductor/compilecache-other/cx.py",
            "inductor/.compilecache-1-ab.tmp",
        ],
    )
    def test_what_no_save_would_pack_is_not_restored(self, path: str, scene: Scene):
        scene.add(*forged_file(path), age=-100)
        result = scene.restore()
        assert_told_well(result)
        assert scene.stamp() == ENVIRONMENT.id
        area, _, below = path.partition("/")
        location = dict(scene.workspace.areas())[area] / below
        assert not location.exists() or location.read_bytes() != b"forged"

    @pytest.mark.parametrize("umask", [0o000, 0o002, 0o022])
    def test_folders_that_a_restore_makes_are_private(self, umask: int, scene: Scene):
        scene.add(*forged_file("inductor/guarded/fxgraph/ab/fabkey/entry"))
        before = os.umask(umask)
        try:
            scene.restore()
        finally:
            os.umask(before)
        made = [each for each in scene.workspace.root.rglob("*") if each.is_dir()]
        assert scene.workspace.inductor / "guarded" in made
        assert {each.stat().st_mode & 0o777 for each in made} == {0o700}

    @pytest.mark.parametrize("age", [-100, 100], ids=["newer", "older"])
    def test_file_where_a_folder_belongs_costs_no_more_than_it_must(self, age: int, scene: Scene):
        others = {f"inductor/{name}/c{name}.main.cpp": b"int x;" for name in ("aa", "good", "zz")}
        for path, content in others.items():
            scene.write(path, content)
        scene.write(GOOD, GOOD_CONTENT)
        assert scene.save().status is OperationStatus.SUCCESS
        shutil.rmtree(scene.workspace.root)
        scene.add(*forged_file("inductor/good"), age=age)
        result = scene.restore()
        assert_told_well(result)
        assert len(result.troubles) <= 2
        found = scene.restored()
        for name in ("aa", "zz"):
            assert found[f"inductor/{name}/c{name}.main.cpp"] == b"int x;"

    def test_torn_pack_hides_nothing_that_it_says_it_took_over(self, scene: Scene):
        forgery = valid()
        forgery.index["supersedes"] = [scene.good.stem]
        content, name = forgery.build()
        damaged = bytearray(content)
        damaged[content.index(forgery.frames[1]) + 12] ^= 0xFF
        scene.add(bytes(damaged), name, age=-100)
        result = scene.restore()
        assert len(result.troubles) == 1
        assert result.status is OperationStatus.ERROR
        assert scene.restored()[GOOD] == GOOD_CONTENT
