"""Somebody who writes in a store's folder reaches nothing outside of it and holds nobody up."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_compilecache.cache import OperationStatus
from pytest_compilecache.errors import StoreError
from pytest_compilecache.limits import Limits
from pytest_compilecache.store import open_store
from pytest_compilecache.store.prune import prune
from tests.security.forging import FILES, valid
from tests.security.scene import GOOD, GOOD_CONTENT, Scene, assert_told_well, in_time

NAME = "5" * 64
NEW = "inductor/new/cnew.main.cpp"
OLD = time.time() - 40 * 86_400
NOTHING_IS_YOUNG = Limits(grace_seconds=0.0, incomplete_seconds=0.0)


def pipe(location: Path) -> None:
    os.mkfifo(location)


def unix_socket(location: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        folder = os.open(location.parent, os.O_RDONLY)
        made.bind(f"/proc/self/fd/{folder}/{location.name}")  # a socket's path is a hundred bytes
        os.close(folder)


def device(location: Path) -> None:
    try:
        os.mknod(location, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero, which never ends
    except PermissionError:
        pytest.skip("only root makes devices, and not everywhere")


def link_to_an_endless_file(location: Path) -> None:
    location.symlink_to("/dev/zero")


def link_to_itself(location: Path) -> None:
    location.symlink_to(location)


def folder(location: Path) -> None:
    (location / "below").mkdir(parents=True)


ODD = [pipe, unix_socket, device, link_to_an_endless_file, link_to_itself, folder]
PLACES = [
    f"packs/{NAME}.pack",
    "environment.json",
    f"suspect/{NAME}",
    "packs/nul.pack",
    "packs/con",
    "packs",
    "suspect",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("make", ODD)
def test_what_is_no_file_is_neither_read_nor_waited_for(
    make: Callable[[Path], None], place: str, scene: Scene
):
    location = scene.shelf / place
    if location.is_dir():
        shutil.rmtree(location)
    location.unlink(missing_ok=True)
    location.parent.mkdir(exist_ok=True)
    make(location)
    before = scene.outside()
    result = in_time(scene.restore)
    assert_told_well(result)
    assert len(result.troubles) <= 1
    if place != "packs":
        assert scene.restored() == {GOOD: GOOD_CONTENT}
    scene.write(NEW, b"int x;\n")
    result = in_time(scene.save)
    assert_told_well(result)
    assert len(result.troubles) <= 1
    after = {path: what for path, what in scene.outside().items() if not path.endswith(".pack")}
    assert after.items() <= before.items()


@pytest.mark.parametrize("make", ODD)
def test_pack_that_became_no_file_since_it_was_listed_is_not_waited_for(
    make: Callable[[Path], None], scene: Scene
):
    from pytest_compilecache.store.catalog import Catalog  # noqa: PLC0415
    from tests.security.scene import ENVIRONMENT  # noqa: PLC0415

    catalog = Catalog(open_store(str(scene.store)), ENVIRONMENT.id)
    (listed,) = catalog.packs()
    scene.good.unlink()
    make(scene.good)

    def read() -> None:
        with pytest.raises(StoreError), catalog.open_pack(listed):
            pass

    in_time(lambda: [read()])


def test_link_to_a_pack_elsewhere_is_not_followed(scene: Scene):
    content, name = valid().build()
    elsewhere = scene.root / "srv" / f"{name}.pack"
    elsewhere.write_bytes(content)
    (scene.packs / elsewhere.name).symlink_to(elsewhere)
    scene.restore()
    assert scene.restored() == {GOOD: GOOD_CONTENT}


@pytest.fixture
def elsewhere(scene: Scene) -> Path:
    """A folder of somebody else with old files, of which some have names that a store uses."""
    made = scene.root / "srv" / "elsewhere"
    content, name = valid().build()
    for path in ("thesis.tex", f"{NAME}.pack", f"{name}.pack", "packs/x", NAME):
        location = made / path
        location.parent.mkdir(parents=True, exist_ok=True)
        location.write_bytes(content)
        os.utime(location, (OLD, OLD))
    return made


LINKED = ["packs", "suspect", "", "..", "../../tmp", "../../tmp/turns"]


@pytest.mark.parametrize("link", LINKED, ids=["packs", "suspect", "shelf", "v1", "tmp", "turns"])
class TestLinkInPlaceOfAFolder:
    """Links inside of a store are not followed: not to read, to write, or to delete."""

    @pytest.fixture(autouse=True)
    def linked(self, link: str, scene: Scene, elsewhere: Path) -> None:
        place = Path(os.path.normpath(scene.shelf / link))
        if place.exists():
            shutil.rmtree(place)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(elsewhere)
        # A bad pack, which a reader notes.
        if link in {"suspect", "../../tmp", "../../tmp/turns"}:
            scene.add(b"no pack", NAME)

    def test_restore_brings_nothing_from_there_and_leaves_it_alone(self, scene: Scene):
        before = scene.outside()
        result = scene.restore()
        assert_told_well(result)
        assert not scene.restored().keys() & FILES.keys()
        assert scene.outside() == before

    def test_save_leaves_it_alone(self, scene: Scene, elsewhere: Path):
        scene.write(NEW, b"int x;\n")
        before = _all(elsewhere)
        result = scene.save()
        assert_told_well(result)
        assert result.status in {OperationStatus.ERROR, OperationStatus.SUCCESS}
        assert _all(elsewhere) == before

    def test_prune_leaves_it_alone(self, scene: Scene, elsewhere: Path):
        before = _all(elsewhere)
        try:
            prune(open_store(str(scene.store), NOTHING_IS_YOUNG), NOTHING_IS_YOUNG)
        except StoreError as error:
            assert error.remedy
        assert _all(elsewhere) == before


def _all(folder: Path) -> dict[str, bytes | None]:
    return {
        str(each.relative_to(folder)): each.read_bytes() if each.is_file() else None
        for each in folder.rglob("*")
    }


class TestHardLinks:
    """A hard link gives a file of somebody else a name in the store."""

    def test_secret_under_the_name_of_a_pack_is_neither_restored_nor_told(self, scene: Scene):
        secret = scene.root / "srv" / "secret"
        (scene.packs / f"{NAME}.pack").hardlink_to(secret)
        before = scene.outside()
        result = scene.restore()
        assert_told_well(result)
        assert len(result.troubles) == 1
        assert "secret" not in str(result.troubles[0])
        assert scene.restored() == {GOOD: GOOD_CONTENT}
        assert scene.outside() == before

    def test_secret_under_the_name_of_a_description_is_not_told(self, scene: Scene):
        secret = scene.root / "srv" / "secret"
        shutil.rmtree(scene.shelf)
        other = scene.store / "v1" / "other"
        other.mkdir()
        (other / "environment.json").hardlink_to(secret)
        result = scene.restore()
        assert_told_well(result)
        assert "secret" not in result.explanation

    def test_pack_that_others_can_still_change_is_copied_not_linked(self, scene: Scene):
        content, name = valid().build()
        location = scene.add(content, name)
        scene.restore()
        location.write_bytes(bytes(len(content)))
        found = scene.restored()
        assert {path: found[path] for path in FILES} == FILES

    @pytest.mark.parametrize("name", ["save-0.lock", "size-0.lock", "lease-seconds"])
    def test_file_under_the_name_of_a_lock_keeps_its_content(self, name: str, scene: Scene):
        secret = scene.root / "srv" / "secret"
        content = secret.read_bytes()
        turns = scene.store / "tmp" / "turns"
        turns.mkdir(parents=True, exist_ok=True)
        (turns / name).unlink(missing_ok=True)
        (turns / name).hardlink_to(secret)
        scene.write(NEW, b"int x;\n")
        result = in_time(scene.save)
        assert_told_well(result)
        assert result.status in {OperationStatus.ERROR, OperationStatus.SUCCESS}
        assert secret.read_bytes() == content

    @pytest.mark.parametrize("name", ["save-0.lock", "size-0.lock", "lease-seconds"])
    def test_link_under_the_name_of_a_lock_makes_no_file_elsewhere(self, name: str, scene: Scene):
        turns = scene.store / "tmp" / "turns"
        turns.mkdir(parents=True, exist_ok=True)
        (turns / name).unlink(missing_ok=True)
        (turns / name).symlink_to(scene.root / "srv" / "made")
        scene.write(NEW, b"int x;\n")
        result = in_time(scene.save)
        assert_told_well(result)
        assert result.status in {OperationStatus.ERROR, OperationStatus.SUCCESS}
        assert not (scene.root / "srv" / "made").exists()
