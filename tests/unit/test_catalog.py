"""The packs of one environment: only its own, only whole ones, and never one less."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_compilecache.errors import PackError, StoreError
from pytest_compilecache.pack import PackSource, PackTooLargeError
from pytest_compilecache.store import DirectoryStore, ObjectMissingError
from pytest_compilecache.store.catalog import MAX_DESCRIPTION, Catalog, PackRef

HERE = "torch2.13.0-cp311-0123456789abcdef"
ELSEWHERE = "torch2.13.0-cp311-fedcba9876543210"


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "store")


@pytest.fixture
def catalog(store):
    return Catalog(store, HERE)


@pytest.fixture
def source(tmp_path):
    def make(path, content=b"content"):
        location = tmp_path / "tree" / path
        location.parent.mkdir(parents=True, exist_ok=True)
        location.write_bytes(content)
        return PackSource(path, location)

    return make


def put(store, key, content):
    with store.stage() as staged:
        staged.file.write(content)
        assert staged.publish(key)


def get(store, key):
    with store.open(key) as file:
        return file.read()


def paths(catalog, pack):
    with catalog.open_pack(pack) as reader:
        return [file.path for file in reader.index.files]


class TestPacks:
    def test_what_is_published_is_found_and_read(self, catalog, source):
        written = catalog.publish([source("inductor/a", b"aaa")], created=1.0)
        (found,) = catalog.packs()
        assert (found.name, found.size) == (written.name, written.size)
        with catalog.open_pack(found) as reader:
            assert reader.index == written.index
            content = {file.path: b"".join(each) for file, each in reader.extract(["inductor/a"])}
        assert content == {"inductor/a": b"aaa"}

    def test_a_pack_lies_where_the_layout_says(self, catalog, store, source):
        written = catalog.publish([source("inductor/a")], created=1.0)
        (found,) = store.list("v1")
        assert found.key == f"v1/{HERE}/packs/{written.name}.pack"

    def test_a_pack_is_opened_by_its_name_as_well(self, catalog, source):
        written = catalog.publish([source("inductor/a")], created=1.0)
        assert paths(catalog, written.name) == ["inductor/a"]

    def test_the_file_is_closed_with_the_context(self, catalog, source, monkeypatch):
        written = catalog.publish([source("inductor/a")], created=1.0)
        opened, open_object = [], DirectoryStore.open

        def noting(store, key):
            opened.append(open_object(store, key))
            return opened[-1]

        monkeypatch.setattr(DirectoryStore, "open", noting)
        with catalog.open_pack(written.name):
            assert not opened[0].closed
        assert opened[0].closed

    def test_what_it_supersedes_is_kept(self, catalog, source):
        first = catalog.publish([source("inductor/a")], created=1.0)
        second = catalog.publish([source("inductor/a")], created=2.0, supersedes=[first.name])
        with catalog.open_pack(second.name) as reader:
            assert reader.index.supersedes == (first.name,)

    def test_no_store_yet_means_no_packs(self, catalog):
        assert catalog.packs() == []

    def test_foreign_names_are_ignored(self, catalog, store, source):
        written = catalog.publish([source("inductor/a")], created=1.0)
        base = f"v1/{HERE}/packs"
        for name in (
            "README",
            "0" * 64,
            "0" * 63 + ".pack",
            "A" * 64 + ".pack",
            "0" * 64 + ".pack.gz",
            "0" * 64 + ".packs",
            "below/" + "0" * 64 + ".pack",
        ):
            put(store, f"{base}/{name}", b"")
        put(store, f"v1/{HERE}/suspect/" + "0" * 64, b"")
        assert [pack.name for pack in catalog.packs()] == [written.name]

    def test_a_pack_that_vanished_is_missing(self, catalog, source, store):
        written = catalog.publish([source("inductor/a")], created=1.0)
        (found,) = catalog.packs()
        store.delete(f"v1/{HERE}/packs/{written.name}.pack")
        with pytest.raises(ObjectMissingError), catalog.open_pack(found):
            pass

    @pytest.mark.parametrize("name", ["", "x", "../" + "0" * 64, "A" * 64, "0" * 64 + ".pack"])
    def test_what_is_not_the_name_of_a_pack_opens_nothing(self, catalog, name):
        with pytest.raises(PackError, match="not the name"), catalog.open_pack(name):
            pass
        with pytest.raises(PackError), catalog.open_pack(PackRef(name, 0, 0.0)):
            pass

    def test_a_torn_pack_is_an_error_that_names_it(self, catalog, store, source):
        written = catalog.publish([source("inductor/a")], created=1.0)
        key = f"v1/{HERE}/packs/{written.name}.pack"
        torn = get(store, key)[:-1]
        store.delete(key)
        put(store, key, torn)
        with pytest.raises(PackError, match=written.name), catalog.open_pack(written.name):
            pass

    @pytest.mark.parametrize("wrong", ["", "..", "a/b", "-a", ".a", "a b", "é", "a" * 201, "a\n"])
    def test_an_environment_id_that_is_no_folder_is_refused(self, store, wrong):
        with pytest.raises(ValueError, match="id of an environment"):
            Catalog(store, wrong)


class TestEnvironmentsApart:
    def test_packs_of_another_environment_are_not_listed(self, store, source):
        Catalog(store, ELSEWHERE).publish([source("inductor/a")], created=1.0)
        assert Catalog(store, HERE).packs() == []

    def test_packs_of_an_environment_whose_id_goes_on_are_not_listed(self, store, source):
        Catalog(store, HERE + "0").publish([source("inductor/a")], created=1.0)
        assert Catalog(store, HERE).packs() == []

    def test_a_pack_in_the_wrong_folder_is_refused(self, store, source):
        written = Catalog(store, ELSEWHERE).publish([source("inductor/a")], created=1.0)
        content = get(store, f"v1/{ELSEWHERE}/packs/{written.name}.pack")
        put(store, f"v1/{HERE}/packs/{written.name}.pack", content)
        here = Catalog(store, HERE)
        (found,) = here.packs()
        with pytest.raises(PackError, match=ELSEWHERE) as caught, here.open_pack(found):
            pass
        assert HERE in caught.value.remedy


class TestPublish:
    def test_without_a_readable_source_nothing_is_published(self, catalog, store, tmp_path):
        gone = PackSource("inductor/gone", tmp_path / "gone")
        assert catalog.publish([gone], created=1.0).skipped == (("inductor/gone", "it vanished"),)
        assert catalog.publish([], created=1.0).index.files == ()
        assert store.list("v1") == []

    def test_what_could_not_be_read_is_told(self, catalog, source, tmp_path):
        gone = PackSource("inductor/gone", tmp_path / "gone")
        written = catalog.publish([source("inductor/a"), gone], created=1.0)
        assert written.skipped == (("inductor/gone", "it vanished"),)

    def test_a_pack_over_the_limit_is_not_published(self, catalog, store, source):
        with pytest.raises(PackTooLargeError):
            catalog.publish([source("inductor/a")], created=1.0, max_bytes=100)
        assert store.list("v1") == []

    def test_the_same_pack_twice_is_one_pack(self, catalog, source):
        first = catalog.publish([source("inductor/a")], created=1.0)
        second = catalog.publish([source("inductor/a")], created=1.0)
        assert first == second
        assert [pack.name for pack in catalog.packs()] == [first.name]

    def test_savers_that_race_all_succeed_and_nothing_is_lost(self, catalog, store, tmp_path):
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "from pytest_compilecache.pack import PackSource\n"
            "from pytest_compilecache.store import open_store\n"
            "from pytest_compilecache.store.catalog import Catalog\n"
            "url, environment, who, folder = sys.argv[1:]\n"
            "catalog = Catalog(open_store(url), environment)\n"
            "catalog.describe('{}')\n"
            "for number in range(5):\n"
            "    location = Path(folder, f'{who}-{number}')\n"
            "    location.write_text(who)\n"
            "    own = PackSource(f'inductor/{who}/{number}', location)\n"
            "    shared = PackSource('inductor/shared', Path(folder, 'shared'))\n"
            "    assert catalog.publish([own], created=number)\n"
            "    assert catalog.publish([shared], created=number)\n"
        )
        (tmp_path / "shared").write_bytes(b"shared")
        savers = [
            subprocess.Popen([sys.executable, "-c", code, store.url, HERE, who, str(tmp_path)])
            for who in "abcd"
        ]
        assert [saver.wait(60) for saver in savers] == [0] * 4
        found = [path for pack in catalog.packs() for path in paths(catalog, pack)]
        expected = [f"inductor/{who}/{number}" for who in "abcd" for number in range(5)]
        assert sorted(found) == sorted([*expected, *["inductor/shared"] * 5])
        assert catalog.environments() == {HERE: "{}"}


class TestDescriptions:
    def test_a_description_is_written_once(self, catalog, store):
        catalog.describe('{"torch": "2.13"}')
        catalog.describe('{"torch": "other"}')
        assert catalog.environments() == {HERE: '{"torch": "2.13"}'}
        assert [each.key for each in store.list("v1")] == [f"v1/{HERE}/environment.json"]

    def test_all_environments_of_the_store_are_told(self, store):
        Catalog(store, HERE).describe("here")
        Catalog(store, ELSEWHERE).describe("elsewhere")
        expected = {HERE: "here", ELSEWHERE: "elsewhere"}
        assert Catalog(store, "a-third-one").environments() == expected

    def test_a_store_that_is_not_there_has_none(self, catalog):
        assert catalog.environments() == {}

    def test_a_description_that_nobody_could_read_is_left_out(self, catalog, store):
        catalog.describe("{}")
        put(store, "v1/too-long/environment.json", b"x" * (MAX_DESCRIPTION + 1))
        put(store, "v1/no-text/environment.json", b"\xff\xfe")
        put(store, "v1/too/deep/environment.json", b"{}")
        put(store, "v1/environment.json", b"{}")
        assert catalog.environments() == {HERE: "{}"}

    def test_a_description_that_grew_since_the_listing_is_left_out(
        self, catalog, store, monkeypatch
    ):
        put(store, "v1/grown/environment.json", b"x" * (MAX_DESCRIPTION + 1))
        listing = [type(each)(each.key, 1, each.modified) for each in store.list("v1")]
        monkeypatch.setattr(DirectoryStore, "list", lambda *_: listing)
        assert catalog.environments() == {}

    def test_of_very_many_environments_the_newest_are_read(self, catalog, store, monkeypatch):
        monkeypatch.setattr("pytest_compilecache.store.catalog.MAX_ENVIRONMENTS", 2)
        listing = []
        for number in range(5):
            key = f"v1/environment-{number}/environment.json"
            put(store, key, b"%d" % number)
            (found,) = store.list(f"v1/environment-{number}")
            listing.append(type(found)(key, 1, float(number)))
        monkeypatch.setattr(DirectoryStore, "list", lambda *_: listing)
        assert list(catalog.environments().values()) == ["4", "3"]

    def test_one_that_is_longer_than_would_be_read_is_not_written(self, catalog, store):
        with pytest.raises(ValueError, match="at most"):
            catalog.describe("x" * (MAX_DESCRIPTION + 1))
        assert store.list("v1") == []


def test_trouble_of_the_store_passes_through(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    catalog = Catalog(DirectoryStore(tmp_path / "file"), HERE)
    for act in (catalog.packs, catalog.environments, lambda: catalog.describe("{}")):
        with pytest.raises(StoreError, match="a file instead of a folder"):
            act()
