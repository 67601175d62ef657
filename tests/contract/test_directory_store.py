"""A store in a folder: the contract, and what only a folder can get wrong."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.contract.store_contract")

from pytest_compilecache.errors import SettingsError, StoreError  # noqa: E402
from pytest_compilecache.limits import Limits  # noqa: E402
from pytest_compilecache.store import (  # noqa: E402
    DirectoryStore,
    ObjectMissingError,
    ReadOnlyStore,
    StoreAccessError,
    open_store,
)
from pytest_compilecache.store.staging import StoreFullError  # noqa: E402
from pytest_compilecache.store.turns import StoreBusyError, Turns  # noqa: E402
from tests.contract.store_contract import (  # noqa: E402
    KEY,
    ProcessesContract,
    StoreContract,
    keys,
    publish,
    read,
)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def store(root):
    return DirectoryStore(root)


def mode_of(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


def files_below(folder):
    """All files but the locks by which writers take turns."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return [path for path in files if path.parts[-3:-1] != ("tmp", "turns")]


class TestContract(StoreContract, ProcessesContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryStore(tmp_path / "some folder" / "störe")


class TestContractWithoutHardLinks(StoreContract):
    """File systems such as exFAT, and many FUSE mounts."""

    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        def refused(*_, **__):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
        return DirectoryStore(tmp_path / "store")


class TestContractWithLeases(StoreContract):
    """Network file systems, where kernel locks cannot be trusted."""

    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryStore(tmp_path / "store", kernel_locks=False)


class TestContractWithALimit(StoreContract):
    """Writers take turns, one at a time, and what they write is counted."""

    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryStore(tmp_path / "store", Limits(store_bytes=100_000_000))

    test_several_objects_are_staged_at_once = None  # only one can be


class TestLeftovers:
    @staticmethod
    def stage_and_die(root):
        code = (
            "import os, sys; from pathlib import Path;"
            "from pytest_compilecache.store import DirectoryStore;"
            "context = DirectoryStore(Path(sys.argv[1])).stage(); staged = context.__enter__();"
            "staged.file.write(b'x' * 100_000); os._exit(9)"
        )
        assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == 9
        (left,) = (path for path in (root / "tmp").iterdir() if path.is_file())
        return left

    def test_what_a_killed_writer_left_goes_when_the_next_one_comes(self, store, root):
        left = self.stage_and_die(root)
        os.utime(left, (left.stat().st_atime, left.stat().st_mtime - 10))
        publish(store, KEY)
        assert not left.exists()

    def test_what_a_live_writer_stages_stays_however_old_it_is(self, store, root):
        with store.stage() as staged:
            staged.file.write(b"slow")
            staged.file.flush()
            (ours,) = (path for path in (root / "tmp").iterdir() if path.is_file())
            os.utime(ours, (0, 0))
            publish(DirectoryStore(root), "v1/other")
            assert staged.publish(KEY) is True

    def test_without_kernel_locks_age_decides(self, root):
        left = self.stage_and_die(root)
        store = DirectoryStore(root, Limits(incomplete_seconds=60), kernel_locks=False)
        os.utime(left, (left.stat().st_atime, left.stat().st_mtime - 50))
        publish(store, KEY)
        assert left.exists()
        os.utime(left, (left.stat().st_atime, left.stat().st_mtime - 50))
        publish(store, "v1/other")
        assert not left.exists()


class TestLeases:
    """Network file systems: all who write to a store must agree how long an owner may be silent."""

    @pytest.mark.parametrize("left", [None, b"", b"3", b"nan", b"\xff", b"1e9"])
    def test_writers_with_different_wishes_agree_whatever_was_left_there(self, root, left):
        folder = root / "tmp" / "turns"
        folder.mkdir(parents=True)
        if left is not None:
            (folder / "lease-seconds").write_bytes(left)
        wishes = [0, 30, 3600, 0]
        durations = [
            Turns(folder, wish, kernel=False, mode=0o600)._duration() for wish in [*wishes, *wishes]
        ]
        assert len(set(durations[1:])) == 1
        assert [path.name for path in folder.iterdir()] == ["lease-seconds"]

    def test_a_store_without_hard_links_agrees_as_well(self, root, monkeypatch):
        def refused(*_, **__):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
        root.mkdir()
        (first, second) = (
            Turns(root, wish, kernel=False, mode=0o600)._duration() for wish in (60, 3600)
        )
        assert first == second == 60


class TestLimits:
    def test_not_one_byte_more_than_the_limit_is_ever_written(self, root):
        store = DirectoryStore(root, Limits(store_bytes=100_000))
        publish(store, "v1/first", b"x" * 60_000)
        with pytest.raises(StoreFullError) as caught:
            publish(store, KEY, b"x" * 60_000)
        assert (caught.value.size, caught.value.limit) == (60_000, 40_000)
        assert files_below(root) == [root / "v1" / "first"]

    def test_what_others_are_writing_counts(self, root):
        limits = Limits(store_bytes=100_000, lock_seconds=0.2)
        with DirectoryStore(root, limits).stage() as staged:
            staged.file.write(b"x" * 60_000)
            with pytest.raises(StoreBusyError, match="others write to it"):
                publish(DirectoryStore(root, limits), KEY)

    def test_a_disk_is_not_filled_up(self, root):
        free = shutil.disk_usage("/").free
        store = DirectoryStore(root, Limits(free_bytes=2 * free))
        with pytest.raises(StoreFullError, match="are not touched"):
            publish(store, KEY)

    @pytest.mark.parametrize("kernel_locks", [True, False])
    def test_more_savers_than_allowed_wait_and_are_told(self, root, kernel_locks):
        limits = Limits(concurrent_saves=2, lock_seconds=1)
        stores = [DirectoryStore(root, limits, kernel_locks=kernel_locks) for _ in range(3)]
        with stores[0].stage(), stores[1].stage(), pytest.raises(StoreBusyError) as caught:
            publish(stores[2], KEY)
        assert "MAX_CONCURRENT_SAVES" in caught.value.remedy
        assert publish(stores[2], KEY) is True


class TestReadOnly:
    def test_it_reads_and_refuses_all_else(self, store):
        publish(store, KEY, b"content")
        reader = ReadOnlyStore(store)
        assert (keys(reader), read(reader, KEY), reader.url) == ([KEY], b"content", store.url)
        for act in (reader.stage, reader.clock, lambda: reader.delete(KEY)):
            with pytest.raises(StoreAccessError) as caught:
                act()
            assert caught.value.errno == errno.EROFS
        assert keys(store) == [KEY]


class TestRoot:
    def test_reading_does_not_make_it(self, store, root):
        store.list("v1")
        store.delete(KEY)
        with pytest.raises(ObjectMissingError):
            store.open(KEY)
        assert not root.exists()

    def test_the_first_object_makes_it_and_its_parents(self, tmp_path):
        store = DirectoryStore(tmp_path / "a" / "b" / "store")
        publish(store, KEY)
        assert keys(store) == [KEY]

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_a_root_of_ours_is_private_whatever_the_umask(self, store, root, umask):
        before = os.umask(umask)
        try:
            publish(store, KEY)
            publish(DirectoryStore(root), "v1/later")
        finally:
            os.umask(before)
        folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
        assert {mode_of(folder) for folder in folders} == {"0o700"}
        assert {mode_of(file) for file in files_below(root)} == {"0o600"}

    @pytest.mark.parametrize(
        ("umask", "folder_mode", "file_mode"),
        [(0o022, "0o755", "0o644"), (0o002, "0o775", "0o664"), (0o000, "0o775", "0o664")],
    )
    def test_a_root_that_others_share_follows_the_umask(
        self, store, root, umask, folder_mode, file_mode
    ):
        root.mkdir()
        root.chmod(0o755)
        before = os.umask(umask)
        try:
            publish(store, KEY)
        finally:
            os.umask(before)
        assert {mode_of(each) for each in root.rglob("*") if each.is_dir()} == {folder_mode}
        assert {mode_of(file) for file in files_below(root)} == {file_mode}

    def test_a_relative_root_stays_where_it_was(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        store = DirectoryStore(Path("store"))
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        publish(store, KEY)
        assert (tmp_path / "store" / KEY).is_file()

    def test_a_root_may_be_a_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        publish(DirectoryStore(tmp_path / "link"), KEY)
        assert keys(DirectoryStore(tmp_path / "real")) == [KEY]


class TestPublishing:
    def test_nothing_temporary_is_left(self, store, root):
        publish(store, KEY)
        publish(store, KEY)
        with store.stage() as staged:
            staged.file.write(b"dropped")
        assert files_below(root) == [root / KEY]

    def test_names_of_temporary_files_tell_processes_and_machines_apart(self, store, root):
        with store.stage(), store.stage():
            names = [path.name for path in (root / "tmp").iterdir() if path.is_file()]
        host = os.uname().nodename.replace(".", "-").replace("_", "-")[:40]
        assert len(set(names)) == 2
        assert all(name.startswith(f"{host}-{os.getpid()}-") for name in names)

    def test_content_is_on_disk_before_its_name_and_the_name_before_we_return(
        self, store, root, monkeypatch
    ):
        publish(store, "v1/folders/are/there")
        steps = []
        fsync, link = os.fsync, os.link

        def syncing(descriptor):
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            steps.append(("sync", path.relative_to(root).parts[0], os.fstat(descriptor)))
            fsync(descriptor)

        def linking(source, target):
            steps.append(("link", Path(target).name, None))
            link(source, target)

        monkeypatch.setattr(os, "fsync", syncing)
        monkeypatch.setattr(os, "link", linking)
        publish(store, "v1/folders/are/new", b"content")
        assert [step[:2] for step in steps] == [("sync", "tmp"), ("link", "new"), ("sync", "v1")]
        assert steps[0][2].st_size == len(b"content")
        assert stat.S_ISDIR(steps[2][2].st_mode)

    def test_each_new_folder_is_on_disk_before_we_return(self, store, root, monkeypatch):
        synced, fsync = set(), os.fsync

        def syncing(descriptor):
            synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", syncing)
        publish(store, "v1/env/object")
        assert {root.parent, root, root / "v1", root / "v1" / "env"} <= synced

    def test_a_file_system_that_cannot_sync_folders_is_enough(self, store, monkeypatch):
        fsync = os.fsync

        def refusing(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", refusing)
        assert publish(store, KEY) is True

    def test_a_link_that_a_network_file_system_makes_twice_is_ours(self, store, monkeypatch):
        link = os.link

        def twice(source, target):
            link(source, target)
            link(source, target)

        monkeypatch.setattr(os, "link", twice)
        assert publish(store, KEY) is True
        assert publish(store, KEY) is False

    def test_a_disk_error_at_the_sync_publishes_nothing(self, store, root, monkeypatch):
        def failing(descriptor):
            raise OSError(errno.EIO, "Input/output error")

        publish(store, "v1/other")
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(StoreAccessError, match="Input/output error"):
            publish(store, KEY)
        assert keys(store) == ["v1/other"]
        assert files_below(root) == [root / "v1" / "other"]

    def test_folders_that_somebody_else_makes_meanwhile_are_fine(self, store, root, monkeypatch):
        mkdir = Path.mkdir

        def racing(self, *arguments, **options):
            if self.parent.is_dir() and not self.exists():
                os.mkdir(self)  # noqa: PTH102
            mkdir(self, *arguments, **options)

        monkeypatch.setattr(Path, "mkdir", racing)
        assert publish(store, KEY) is True


class TestForeignFiles:
    @pytest.mark.parametrize("kernel_locks", [True, False])
    def test_a_store_in_a_folder_that_has_a_tmp_already_deletes_nothing_there(
        self, root, kernel_locks
    ):
        (root / "tmp").mkdir(parents=True)
        names = ["notes.txt", "left", f"vm-{os.getpid()}-{'0' * 15}", "0" * 16]
        for name in names:
            (root / "tmp" / name).write_bytes(b"somebody's")
            os.utime(root / "tmp" / name, (0, 0))
        store = DirectoryStore(root, kernel_locks=kernel_locks)
        publish(store, KEY)
        store.clock()
        assert sorted(path.name for path in (root / "tmp").iterdir() if path.is_file()) == sorted(
            names
        )

    def test_what_cannot_be_a_key_is_not_listed(self, store, root):
        publish(store, KEY)
        for name in (".DS_Store", "v1/.nfs0001", "v1/a b", "tmp/left-over", "v1/~backup"):
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(b"x")
        assert keys(store) == [KEY]

    def test_links_are_neither_listed_nor_followed(self, store, root, tmp_path):
        publish(store, "v1/object")
        (tmp_path / "secret").write_bytes(b"secret")
        (root / "v1" / "link").symlink_to(tmp_path / "secret")
        (root / "v1" / "folder").symlink_to(tmp_path)
        (root / "v1" / "loop").symlink_to(root)
        assert keys(store) == ["v1/object"]
        with pytest.raises(StoreAccessError, match="symbolic link") as caught:
            store.open("v1/link")
        assert caught.value.errno == errno.ELOOP

    def test_a_pipe_is_neither_listed_nor_waited_for(self, store, root):
        publish(store, "v1/object")
        os.mkfifo(root / "v1" / "pipe")
        assert keys(store) == ["v1/object"]
        with pytest.raises(StoreError, match="not a regular file"):
            store.open("v1/pipe")

    def test_a_listing_survives_what_vanishes_under_it(self, store, root, monkeypatch):
        for name in "abc":
            publish(store, f"v1/{name}")
        scandir = os.scandir

        class Vanishing:
            def __init__(self, folder):
                self._entries = scandir(folder)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self._entries.close()

            def __iter__(self):
                for entry in self._entries:
                    if entry.name == "b":
                        Path(entry.path).unlink()
                    yield entry

        monkeypatch.setattr(os, "scandir", Vanishing)
        assert keys(store, "v1") == ["v1/a", "v1/c"]


class TestTrouble:
    """Each kind is told in words, with what to do, and with the system's number."""

    def check(self, caught, code, words):
        error = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(error, OSError)
        assert error.errno == code
        assert words in error.reason
        assert error.remedy
        assert "Errno" not in str(error)

    def do_all(self, store, code, words):
        for act in (
            lambda: store.list("v1"),
            lambda: store.list("v1"),
            lambda: store.open(KEY),
            lambda: store.delete(KEY),
            lambda: publish(store, KEY),
        ):
            with pytest.raises(StoreAccessError) as caught:
                act()
            self.check(caught, code, words)

    def test_a_file_in_place_of_the_root(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        self.do_all(DirectoryStore(tmp_path / "file"), errno.ENOTDIR, "a file instead of a folder")

    def test_a_file_in_place_of_a_parent(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        store = DirectoryStore(tmp_path / "file" / "below" / "store")
        self.do_all(store, errno.ENOTDIR, "a file instead of a folder")

    def test_a_place_where_no_folder_can_be_made(self):
        if not Path("/proc/self").exists():
            pytest.skip("there is no /proc, where a folder exists and takes none")
        with pytest.raises(StoreAccessError, match="No such file or directory"):
            publish(DirectoryStore(Path("/proc/store")), KEY)

    def test_a_file_in_place_of_a_folder_inside(self, store, root):
        publish(store, "v1/some-environment")
        with pytest.raises(StoreAccessError) as caught:
            publish(store, KEY)
        self.check(caught, errno.ENOTDIR, "a file instead of a folder")

    def test_no_permission(self, store, root):
        if os.geteuid() == 0:
            pytest.skip("root may do everything; see the test with another user")
        publish(store, KEY)
        root.chmod(0)
        try:
            self.do_all(store, errno.EACCES, "permission was refused")
        finally:
            root.chmod(0o700)

    @pytest.fixture
    def open_folder(self):
        """A folder that other users can reach; pytest's own are private."""
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder)

    def test_no_permission_for_another_user(self, open_folder):
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        store = DirectoryStore(open_folder / "store")
        publish(store, KEY)
        code = (
            "import os, sys\n"
            "from pytest_compilecache.errors import StoreError\n"
            "from pytest_compilecache.store import open_store\n"
            "store = open_store(sys.argv[1])\n"
            "os.setuid(65534)\n"
            "for act in (lambda: store.list('v1'), lambda: store.stage().__enter__()):\n"
            "    try: act()\n"
            "    except StoreError as error: print(error.errno, error.reason)\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, store.url], capture_output=True, text=True, check=True
        )
        assert run.stdout.splitlines() == [f"{errno.EACCES} permission was refused"] * 2

    @pytest.mark.parametrize(
        ("code", "words"),
        [
            (errno.ENOSPC, "the disk is full"),
            (errno.EDQUOT, "the disk quota is used up"),
            (errno.EROFS, "mounted read-only"),
            (errno.EACCES, "permission was refused"),
            (errno.ESTALE, "tale file handle"),
        ],
        ids=errno.errorcode.get,
    )
    @pytest.mark.parametrize(
        ("owner", "call"),
        [(os, "open"), (os, "fsync"), (os, "link"), (Path, "mkdir")],
        ids=["open", "fsync", "link", "mkdir"],
    )
    def test_whatever_the_system_refuses(self, store, root, monkeypatch, code, words, owner, call):
        def refusing(*_, **__):
            raise OSError(code, os.strerror(code))

        publish(store, "v1/other")
        monkeypatch.setattr(owner, call, refusing)
        with pytest.raises(StoreAccessError) as caught:
            publish(store, KEY)
        monkeypatch.undo()
        self.check(caught, code, words)
        assert keys(store) == ["v1/other"]
        assert files_below(root) == [root / "v1" / "other"]

    def test_a_disk_that_fails_while_it_is_read(self, store, monkeypatch):
        publish(store, KEY)
        with store.open(KEY) as file:
            os.close(file.fileno())
            read_end, write_end = os.pipe()
            os.close(write_end)
            folder = os.open("/", os.O_RDONLY)
            os.dup2(folder, file.fileno())  # reading a folder is an error at once
            os.close(folder)
            if read_end != file.fileno():
                os.close(read_end)
            with pytest.raises(StoreAccessError) as caught:
                file.read(10)
        assert caught.value.errno == errno.EISDIR


def try_mount(kind, target, options):
    target.mkdir()
    command = ["mount", "-t", kind, "-o", options, kind, str(target)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")


class TestSmallDisk:
    @pytest.fixture
    def disk(self, tmp_path):
        disk = tmp_path / "disk"
        try_mount("tmpfs", disk, "size=2m,mode=700")
        yield disk
        subprocess.run(["umount", str(disk)], check=True)

    def test_a_full_disk_is_told_and_leaves_what_was_there(self, disk):
        store = DirectoryStore(disk / "store", Limits(free_bytes=0))
        publish(store, "v1/small", b"x" * 1000)
        with pytest.raises(StoreAccessError) as caught:
            publish(store, KEY, b"x" * 3_000_000)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.reason == "the disk is full"
        assert "free space" in caught.value.remedy
        assert files_below(disk) == [disk / "store" / "v1" / "small"]
        assert publish(store, KEY, b"x" * 1_000_000) is True

    def test_a_disk_that_is_full_when_the_last_bytes_leave_the_buffer(self, disk):
        store = DirectoryStore(disk / "store", Limits(free_bytes=0))
        with pytest.raises(StoreAccessError, match="the disk is full"), store.stage() as staged:
            staged.file.write(b"last bytes")
            (disk / "filler").write_bytes(b"")
            with pytest.raises(OSError, match="No space"), (disk / "filler").open("wb", 0) as file:
                while True:
                    file.write(b"x" * 4096)
            staged.publish(KEY)
        assert files_below(disk) == [disk / "filler"]

    def test_a_disk_that_is_mounted_read_only_can_be_read(self, disk):
        store = DirectoryStore(disk / "store", Limits(free_bytes=0))
        publish(store, KEY, b"content")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert keys(store) == [KEY]
        assert read(store, KEY) == b"content"
        with pytest.raises(StoreAccessError, match="mounted read-only") as caught:
            publish(store, "v1/other")
        assert caught.value.errno == errno.EROFS


class TestOpenStore:
    def test_a_path_is_a_folder(self, tmp_path):
        assert open_store(tmp_path / "store").url == (tmp_path / "store").as_uri()
        assert open_store(str(tmp_path / "store")).url == (tmp_path / "store").as_uri()

    def test_a_path_is_taken_literally(self, tmp_path):
        strange = tmp_path / "100%25 #1?x=y"
        publish(open_store(str(strange)), KEY)
        assert (strange / KEY).is_file()
        assert keys(open_store(strange.as_uri())) == [KEY]

    def test_home_is_expanded(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert open_store("~/store").url == (tmp_path / "store").as_uri()

    @pytest.mark.parametrize(
        "url", ["file:///a/b%20c", "file://localhost/a/b%20c", "FILE:///a/b%20c"]
    )
    def test_a_file_url_is_a_folder(self, url):
        assert open_store(url).url == "file:///a/b%20c"

    def test_a_path_that_is_no_utf_8_survives_its_url(self, tmp_path):
        strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
        assert open_store(open_store(strange).url).url == open_store(strange).url

    @pytest.mark.parametrize(
        ("location", "words"),
        [
            ("s3://bucket/prefix", "s3://"),
            ("http://host/path", "http://"),
            ("file+ssh://host/path", "file+ssh://"),
            ("file://host/path", "host"),
            ("file:///a?b", "?"),
            ("file:///a#b", "#"),
            ("file:///", "no folder"),
            ("/", "no folder"),
            ("//", "no folder"),
            ("file:///a%00b", "no folder"),
            ("", "not the name of a place"),
            ("a\0b", "not the name of a place"),
            ("~no-such-user-here/store", "home"),
        ],
    )
    def test_what_cannot_be_understood_is_told_with_the_remedy(self, location, words):
        with pytest.raises(SettingsError) as caught:
            open_store(location)
        assert words in caught.value.reason
        assert caught.value.remedy

    def test_an_unknown_scheme_says_what_is_supported(self):
        with pytest.raises(SettingsError, match="file:// is"):
            open_store("gs://bucket")
