"""The power fails after any step of a save or a prune, and takes what was not synced, or a part.

What is listed is whole nevertheless, nothing that was in the store before is lost,
and a pack is there for good when the save has returned.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.store.staging import temporary_name
from tests.crash.artifacts import names, put
from tests.crash.faults import Call, Handler, intercepted
from tests.crash.power_failure import after, possible_after, write
from tests.crash.recording import Recorder
from tests.crash.site import OPERATIONS, Site
from tests.crash.verification import pack_names, store_faults, stored_paths

HERE = "here"


def before_the_first_save(site: Site) -> None:
    site.store.parent.mkdir(parents=True)
    site.restore(HERE)
    put(site.workspace(HERE), names("h", 3))


def before_one_more_save(site: Site) -> None:
    before_the_first_save(site)
    for number in range(3):
        site.restore("other")
        put(site.workspace("other"), names("o", 1, first=number))
        site.save("other")


def before_a_compaction(site: Site) -> None:
    before_one_more_save(site)
    site.restore(HERE)


def before_a_prune(site: Site) -> None:
    before_a_compaction(site)
    site.compact(HERE)
    left = site.store / "tmp" / temporary_name()
    left.write_bytes(b"x" * 1000)
    os.utime(left, (0, 0))


SCENES: dict[str, tuple[str, Callable[[Site], None]]] = {
    "first save": ("save", before_the_first_save),
    "one more save": ("save", before_one_more_save),
    "compaction": ("compact", before_a_compaction),
    "prune": ("prune", before_a_prune),
}


@dataclass(frozen=True)
class Story:
    """What was done to the folder that holds a store, and what must outlive a failure.

    Attributes:
        recorder: What was done.
        paths: What was stored before.
        packs: The packs that are there in the end.
        folder: Where stores can be made to look at.
    """

    recorder: Recorder
    paths: set[str]
    packs: set[str]
    folder: Path

    def complaints(self) -> Iterator[str]:
        """What is wrong after a power failure at any point, and after one at the end."""
        steps = self.recorder.steps
        for count in range(len(steps) + 1):
            last = str(steps[count - 1])[:200] if count else "nothing"
            for content in possible_after(self.recorder.before, steps[:count]):
                root = self._made(content)
                yield from (f"after {last}: {each}" for each in self._faults(root))
                if count == len(steps):
                    lost = self.packs - pack_names(root)
                    yield from (f"the save returned, and pack {each} is gone" for each in lost)

    def _faults(self, root: Path) -> Iterator[str]:
        faults = store_faults(root)
        yield from faults
        if not faults:
            lost = self.paths - stored_paths(root)
            yield from (f"{path} was stored, and is lost" for path in sorted(lost))

    def _made(self, content: dict[str, bytes | None]) -> Path:
        root = self.folder / "after"
        shutil.rmtree(root, ignore_errors=True)
        write(content, root)
        return root / "store"


def record(scene: str, folder: Path, mutant: Callable[[Recorder], Handler]) -> Story:
    """Let an operation run, as it is or as a mutant."""
    operation, prepare = SCENES[scene]
    site = Site(folder / "site")
    prepare(site)
    recorder = Recorder(site.store.parent)
    paths = stored_paths(site.store)
    before = pack_names(site.store)
    with intercepted(mutant(recorder)):
        result: Any = OPERATIONS[operation](site, HERE)
    if operation == "prune":
        assert result.deleted, "nothing was deleted, so this shows nothing"
    else:
        assert pack_names(site.store) > before, "no pack was made, so this shows nothing"
    return Story(recorder, paths, pack_names(site.store), folder)


def as_it_is(recorder: Recorder) -> Handler:
    return recorder


def is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def without_file_sync(recorder: Recorder) -> Handler:
    def handler(call: Call) -> Any:
        return None if call.name == "fsync" and is_file(*call.arguments) else recorder(call)

    return handler


def without_folder_sync(recorder: Recorder) -> Handler:
    def handler(call: Call) -> Any:
        return None if call.name == "fsync" and not is_file(*call.arguments) else recorder(call)

    return handler


def with_file_sync_after_the_name(recorder: Recorder) -> Handler:
    sync = without_file_sync(recorder)

    def handler(call: Call) -> Any:
        result = sync(call)
        if call.name == "link":
            descriptor = os.open(call.arguments[1], os.O_RDONLY)
            recorder(Call("fsync", os.fdatasync, (descriptor,)))
            os.close(descriptor)
        return result

    return handler


def written_in_place(recorder: Recorder) -> Handler:
    def handler(call: Call) -> Any:
        if call.name != "link":
            return recorder(call)
        source, target = call.arguments
        descriptor = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
        os.write(descriptor, Path(source).read_bytes())
        os.fsync(descriptor)
        return os.close(descriptor)

    return handler


TORN = r"\.pack: .*(too short|does not begin and end)"
MUTANTS = {
    without_file_sync: TORN,
    without_folder_sync: "the save returned, and pack .* is gone",
    with_file_sync_after_the_name: TORN,
    written_in_place: TORN,
}


@pytest.mark.parametrize("scene", SCENES)
def test_power_failure_at_any_step_leaves_only_whole_objects_and_loses_none(
    scene: str, folder: Path
):
    complaints = list(record(scene, folder, as_it_is).complaints())
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("scene", SCENES)
def test_replay_of_all_steps_is_what_really_happened(scene: str, folder: Path):
    recorder = record(scene, folder, as_it_is).recorder
    assert len(recorder.steps) > 5
    assert after(recorder.before, recorder.steps).content() == recorder.look().content()


@pytest.mark.parametrize("scene", ["first save", "one more save", "compaction"])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_replay_finds_a_store_that_takes_a_short_cut(
    scene: str, mutant: Callable[[Recorder], Handler], folder: Path
):
    complaints = record(scene, folder, mutant).complaints()
    assert any(re.search(MUTANTS[mutant], each) for each in complaints)
