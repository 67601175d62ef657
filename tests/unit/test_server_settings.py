from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.limits import DAY, MIB
from pytest_compilecache.server_settings import Places, ServerSettings, read_server_settings
from pytest_compilecache.settings import SERVER_SETTINGS

NUMBERS = [
    # variable, cap's variable, default, default of the cap
    ("MAX_CACHE_SIZE_MB", "MAX_CACHE_SIZE_CAP_MB", 1024, 1024),
    ("MAX_WORKSPACE_SIZE_MB", "MAX_WORKSPACE_SIZE_CAP_MB", 10_240, 1_048_576),
    ("MAX_CONCURRENT_SAVES", "MAX_CONCURRENT_SAVES_CAP", 50, 100),
    ("CLEANUP_LOCK_TIMEOUT_SECONDS", "LOCK_TIMEOUT_CAP_SECONDS", 30, 3600),
    ("CLEANUP_INCOMPLETE_TIMEOUT_SECONDS", "INCOMPLETE_TIMEOUT_CAP_SECONDS", 60, 7200),
]
OURS = {
    "MAX_CACHE_SIZE_MB": "COMPILECACHE_MAX_SAVE_MB",
    "MAX_WORKSPACE_SIZE_MB": "COMPILECACHE_MAX_WORKSPACE_MB",
    "MAX_CONCURRENT_SAVES": "COMPILECACHE_MAX_CONCURRENT_SAVES",
    "CLEANUP_LOCK_TIMEOUT_SECONDS": "COMPILECACHE_LOCK_SECONDS",
    "CLEANUP_INCOMPLETE_TIMEOUT_SECONDS": "COMPILECACHE_INCOMPLETE_SECONDS",
}
every_number = pytest.mark.parametrize(
    ("name", "cap", "default", "cap_default"), NUMBERS, ids=[row[0] for row in NUMBERS]
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A machine that has neither /app nor /cache."""
    (tmp_path / "documented").mkdir()
    return Places(
        app=tmp_path / "app",
        mount=tmp_path / "cache" / "model",
        temporary=tmp_path / "temporary",
        user_cache=tmp_path / "user-cache",
        inductor=(tmp_path / "documented",),
        work=(tmp_path / "documented",),
    )


def number(found: ServerSettings, name: str) -> float:
    limits = found.limits
    return {
        "MAX_CACHE_SIZE_MB": limits.pack_bytes / MIB,
        "MAX_WORKSPACE_SIZE_MB": (limits.workspace_bytes or 0) / MIB,
        "MAX_CONCURRENT_SAVES": limits.concurrent_saves,
        "CLEANUP_LOCK_TIMEOUT_SECONDS": limits.lock_seconds,
        "CLEANUP_INCOMPLETE_TIMEOUT_SECONDS": limits.incomplete_seconds,
    }[name]


@every_number
@pytest.mark.parametrize("text", [None, "", "  "], ids=["unset", "empty", "blank"])
def test_number_that_nobody_gave_is_the_default(
    text: str | None, name: str, cap: str, default: int, cap_default: int, places: Places
):
    environ = {} if text is None else {name: text, cap: text}
    found = read_server_settings(environ, places)
    assert number(found, name) == default
    assert found.clamped == ()


@every_number
@pytest.mark.parametrize(("text", "value"), [("1", 1), (" 7 ", 7), ("+8", 8), ("007", 7)])
def test_number_in_its_range_is_taken(
    text: str, value: int, name: str, cap: str, default: int, cap_default: int, places: Places
):
    found = read_server_settings({name: text}, places)
    assert number(found, name) == value
    assert found.clamped == ()


@every_number
def test_cap_itself_is_in_the_range(
    name: str, cap: str, default: int, cap_default: int, places: Places
):
    found = read_server_settings({name: str(cap_default)}, places)
    assert number(found, name) == cap_default
    assert found.clamped == ()


@every_number
@pytest.mark.parametrize("text", ["0", "-1", "-9999999999"])
def test_number_below_its_range_is_clamped_and_both_values_are_named(
    text: str, name: str, cap: str, default: int, cap_default: int, places: Places
):
    found = read_server_settings({name: text}, places)
    assert number(found, name) == 1
    (clamped,) = found.clamped
    assert (
        str(clamped) == f"{name}: {text} is out of the range from 1 to {cap_default}, and 1 is used"
    )


@every_number
def test_number_above_its_cap_is_clamped_and_both_values_and_the_cap_are_named(
    name: str, cap: str, default: int, cap_default: int, places: Places
):
    found = read_server_settings({name: str(cap_default + 1)}, places)
    assert number(found, name) == cap_default
    (clamped,) = found.clamped
    assert str(clamped) == (
        f"{name}: {cap_default + 1} is out of the range from 1 to {cap_default}, "
        f"and {cap_default} is used (raise {cap} for more)"
    )


@every_number
def test_raised_cap_allows_more(name: str, cap: str, default: int, cap_default: int, places):
    environ = {name: str(cap_default + 1), cap: str(cap_default + 10)}
    found = read_server_settings(environ, places)
    assert number(found, name) == cap_default + 1
    assert found.clamped == ()


@every_number
def test_lowered_cap_binds_what_is_given_with_a_warning_and_the_default_without(
    name: str, cap: str, default: int, cap_default: int, places: Places
):
    found = read_server_settings({cap: "5"}, places)
    assert number(found, name) == 5
    assert found.clamped == ()
    found = read_server_settings({cap: "5", name: "6"}, places)
    assert number(found, name) == 5
    assert [clamped.name for clamped in found.clamped] == [name]


@every_number
@pytest.mark.parametrize(("text", "used"), [("0", 1), ("-3", 1), ("9" * 30, 2**31 - 1)])
def test_cap_out_of_its_range_is_clamped_as_well(
    text: str, used: int, name: str, cap: str, default: int, cap_default: int, places: Places
):
    found = read_server_settings({cap: text, name: "1"}, places)
    (clamped,) = found.clamped
    assert (clamped.name, clamped.used) == (cap, used)
    assert str(clamped).startswith(f"{cap}: {text[:20]}")


@every_number
@pytest.mark.parametrize(
    "text", ["many", "1.5", "1e3", "10MB", "0x10", "1_000", "nan", "inf", "٣", "9" * 5000]
)
def test_number_that_cannot_be_read_is_an_error_that_names_the_variable(
    text: str, name: str, cap: str, default: int, cap_default: int, places: Places
):
    for variable in (name, cap):
        with pytest.raises(SettingsError) as caught:
            read_server_settings({variable: text}, places)
        assert caught.value.subject == variable
        assert "is not a whole number" in caught.value.reason
        assert text[:5] in caught.value.reason
        assert "use a number from 1 to" in caught.value.remedy
        assert len(str(caught.value)) < 300


def test_what_a_save_may_take_is_one_pack(places: Places):
    assert not read_server_settings({}, places).limits.split


def test_store_is_in_the_users_cache_folder_where_there_is_no_mount(places: Places):
    assert read_server_settings({}, places).store == str(places.user_cache / "store")


def test_store_is_on_the_mount_where_there_is_one(places: Places):
    places.mount.mkdir(parents=True)
    assert read_server_settings({}, places).store == str(places.mount / "compile_cache")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_mount_that_may_not_be_read_is_none(places: Places):
    places.mount.mkdir(parents=True, mode=0o000)
    assert read_server_settings({}, places).store == str(places.user_cache / "store")


def test_file_in_the_place_of_the_mount_is_none(places: Places):
    places.mount.parent.mkdir()
    places.mount.touch()
    assert read_server_settings({}, places).store == str(places.user_cache / "store")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/mnt/store", "/mnt/store"),
        ("/mnt/a/../store/", "/mnt/store"),
        ("s3://bucket/store", "s3://bucket/store"),
        ("file:///mnt/store", "file:///mnt/store"),
        ("~/store", f"{Path('~').expanduser()}/store"),
        ("store", f"{Path.cwd()}/store"),
    ],
)
def test_store_that_is_named_is_used(text: str, expected: str, places: Places):
    assert read_server_settings({"B10FS_CACHE_DIR": text}, places).store == expected


def test_work_is_done_in_the_temp_directory_where_there_is_no_app(places: Places):
    assert read_server_settings({}, places).work == places.temporary
    places.app.touch()
    assert read_server_settings({}, places).work == places.temporary


def test_work_is_done_in_app_where_it_can_be_written_to(places: Places):
    places.app.mkdir()
    assert read_server_settings({}, places).work == places.app


def test_work_is_not_done_in_app_where_everybody_can_replace_it(places: Places):
    places.app.mkdir()
    places.app.chmod(0o777)
    assert read_server_settings({}, places).work == places.temporary
    places.app.chmod(0o1777)
    assert read_server_settings({}, places).work == places.app


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_app_that_cannot_be_written_to_is_none(places: Places):
    places.app.mkdir(mode=0o555)
    assert read_server_settings({}, places).work == places.temporary


@pytest.mark.parametrize(
    ("variable", "field"), [("LOCAL_WORK_DIR", "work"), ("TORCHINDUCTOR_CACHE_DIR", "inductor")]
)
class TestFolder:
    def test_below_a_documented_place_is_taken(
        self, variable: str, field: str, places: Places, tmp_path: Path
    ):
        named = tmp_path / "documented" / "a"
        assert getattr(read_server_settings({variable: f" {named}/ "}, places), field) == named

    def test_below_the_temp_directory_is_taken(self, variable: str, field: str, places: Places):
        assert places.temporary is not None
        named = places.temporary / "torchinductor_me"
        assert getattr(read_server_settings({variable: str(named)}, places), field) == named

    def test_private_one_elsewhere_is_taken(
        self, variable: str, field: str, places: Places, tmp_path: Path
    ):
        (tmp_path / "private").mkdir(mode=0o700)
        found = read_server_settings({variable: str(tmp_path / "private")}, places)
        assert getattr(found, field) == tmp_path / "private"

    def test_open_one_elsewhere_is_refused_by_name(
        self, variable: str, field: str, places: Places, tmp_path: Path
    ):
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        with pytest.raises(SettingsError, match=f"^{variable}: .*/open is not used: ") as caught:
            read_server_settings({variable: str(tmp_path / "open")}, places)
        assert "documented" in caught.value.remedy

    def test_home_of_nobody_is_refused_by_name(self, variable: str, field: str, places: Places):
        with pytest.raises(SettingsError, match=f"^{variable}: .*no such user"):
            read_server_settings({variable: "~nobody-of-this-name/x"}, places)

    def test_empty_one_is_not_set(self, variable: str, field: str, places: Places):
        assert read_server_settings({variable: ""}, places) == read_server_settings({}, places)


def test_inductors_folder_is_nobodys_choice_unless_it_is_named(places: Places):
    assert read_server_settings({}, places).inductor is None


def test_documented_places_of_a_real_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/of-a-test")
    real = Places(temporary=Path("/tmp"))
    inductor = real.documented("inductor")
    assert set(map(str, inductor)) == {"/tmp", "/cache", "/home/of-a-test/.cache"}
    assert set(map(str, real.documented("work"))) == {"/app", "/tmp", "/cache"}


def test_machine_without_a_temp_directory_is_told_what_to_set(
    places: Places, monkeypatch: pytest.MonkeyPatch
):
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(SettingsError, match=r"^COMPILECACHE_WORK: .*No usable temporary directory"):
        read_server_settings({}, Places(app=places.app, mount=places.mount, user_cache=Path("/x")))


def test_user_without_a_home_is_told_what_to_set(places: Places, monkeypatch: pytest.MonkeyPatch):
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    homeless = Places(app=places.app, mount=places.mount, temporary=places.temporary)
    with pytest.raises(SettingsError, match=r"^COMPILECACHE_STORE: .*no home directory"):
        read_server_settings({}, homeless)
    named = read_server_settings({"B10FS_CACHE_DIR": "/cache/store"}, homeless)
    assert named.store == "/cache/store"


def test_every_number_with_an_alias_is_tested_here():
    numbers = {each.alias: each.variable for each in SERVER_SETTINGS if each.cap}
    assert numbers == OURS
    assert {row[0] for row in NUMBERS} == OURS.keys()


@every_number
def test_variable_of_ours_wins_over_its_alias_and_is_named(
    name: str, cap: str, default: int, cap_default: int, places: Places
):
    ours = OURS[name]
    found = read_server_settings({ours: "7", name: "8"}, places)
    assert number(found, name) == 7
    assert ours in found.origins.values()
    found = read_server_settings({ours: " ", name: "8"}, places)
    assert number(found, name) == 8
    assert name in found.origins.values()
    found = read_server_settings({ours: "7", f"{ours}_CAP": "6", cap: "5"}, places)
    assert number(found, name) == 6
    (clamped,) = found.clamped
    assert str(clamped) == (
        f"{ours}: 7 is out of the range from 1 to 6, and 6 is used (raise {ours}_CAP for more)"
    )
    with pytest.raises(SettingsError, match=f"^{ours}: 'many' is not a whole number"):
        read_server_settings({ours: "many", name: "8"}, places)


@pytest.mark.parametrize(
    ("ours", "alias", "field"),
    [
        ("COMPILECACHE_STORE", "B10FS_CACHE_DIR", "store"),
        ("COMPILECACHE_WORK", "LOCAL_WORK_DIR", "work"),
    ],
)
def test_place_of_ours_wins_over_its_alias_and_is_named(
    ours: str, alias: str, field: str, places: Places, tmp_path: Path
):
    first, second = (str(tmp_path / "documented" / name) for name in ("first", "second"))
    found = read_server_settings({ours: first, alias: second}, places)
    assert (str(getattr(found, field)), found.origins[field]) == (first, ours)
    found = read_server_settings({alias: second}, places)
    assert (str(getattr(found, field)), found.origins[field]) == (second, alias)


def test_store_that_the_caller_names_is_used_as_it_is(places: Places):
    found = read_server_settings({"COMPILECACHE_STORE": "/x"}, places, store="here")
    assert (found.store, found.origins["store"]) == ("here", "--store")


def test_what_a_store_may_take_and_how_long_packs_live_hold_for_servers_as_well(places: Places):
    environ = {"COMPILECACHE_MAX_STORE_MB": "2", "COMPILECACHE_KEEP_DAYS": "3"}
    limits = read_server_settings(environ, places).limits
    assert (limits.store_bytes, limits.keep_seconds) == (2 * MIB, 3 * DAY)
    assert read_server_settings({}, places).limits.store_bytes is None


def test_variables_of_sessions_alone_are_not_read(places: Places):
    noise = {"COMPILECACHE_DIR": "/y", "COMPILECACHE_SAVE": "often", "COMPILECACHE_RUN": "x"}
    assert read_server_settings(noise, places) == read_server_settings({}, places)
