from __future__ import annotations

from pathlib import Path

import pytest

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.session_settings import Layer, Settings, variables_layer
from pytest_compilecache.settings import SESSION_SETTINGS, SETTINGS


def layer(origin: str = "command line", base: str = "/base", **values: object) -> Layer:
    return Layer("option" if origin == "command line" else "ini", origin, values, Path(base))


DEFAULTS = Settings.resolve()


def test_every_setting_stands_in_the_table_once_and_no_two_share_a_name():
    names = [
        name
        for each in SETTINGS
        for name in (each.name, each.variable, each.cap_variable, each.alias)
        if name
    ]
    names += [each.cap.alias for each in SETTINGS if each.cap]
    assert len(names) == len(set(names))
    assert {each.name for each in SESSION_SETTINGS} == {*Settings.__annotations__} - {"origins"}


def test_names_of_a_setting_follow_from_one():
    (setting,) = (each for each in SETTINGS if each.name == "max_workspace_mb")
    assert setting.flag == "--compilecache-max-workspace-mb"
    assert setting.ini == "compilecache_max_workspace_mb"
    assert setting.variable == "COMPILECACHE_MAX_WORKSPACE_MB"
    assert setting.cap_variable == "COMPILECACHE_MAX_WORKSPACE_MB_CAP"


def test_unless_it_is_given_torch_decides_what_a_failure_to_compile_means():
    assert (DEFAULTS.run, DEFAULTS.fallback, DEFAULTS.isolation) == ("compiled", None, "none")
    given = Settings.resolve(layer(run="both", fallback="fail", isolation="test"))
    assert (given.run, given.fallback, given.isolation) == ("both", "fail", "test")


def test_later_layers_win_and_every_value_says_where_it_came_from():
    settings = Settings.resolve(
        layer("pytest.ini", store="a", save="never"), layer("command line", store="/b")
    )
    assert (settings.store, settings.save) == ("/b", "never")
    assert dict(settings.origins) == {"store": "command line", "save": "pytest.ini"}


def test_nothing_given_is_the_default():
    assert Settings.resolve(layer(store=None, save="", strict=None)) == DEFAULTS


def test_relative_paths_are_relative_to_where_they_were_written():
    settings = Settings.resolve(layer(store="store", dir="../cache"))
    assert settings.store == "/base/store"
    assert settings.dir == Path("/cache")


def test_urls_are_left_as_they_are():
    assert Settings.resolve(layer(store="s3://bucket/x")).store == "s3://bucket/x"


@pytest.mark.parametrize(
    ("raw", "expected"), [(True, True), ("on", True), ("1", True), ("no", False), ("FALSE", False)]
)
def test_switches_are_read_in_all_common_spellings(raw: object, expected: bool):
    assert Settings.resolve(layer(strict=raw)).strict is expected


@pytest.mark.parametrize(
    "values", [{"save": "often"}, {"strict": "maybe"}, {"store": "a\nb"}, {"dir": "a\0b"}]
)
def test_unusable_value_names_setting_origin_and_remedy(values: dict[str, object]):
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(layer("pytest.ini", **values))
    (name,) = values
    assert str(caught.value).startswith(f"compilecache_{name} (pytest.ini): ")
    assert caught.value.remedy


def test_unusable_variable_is_named_as_the_user_wrote_it():
    with pytest.raises(SettingsError, match=r"^COMPILECACHE_SAVE: 'often' cannot be used"):
        Settings.resolve(variables_layer({"COMPILECACHE_SAVE": "often"}, Path("/")))


def test_variable_says_by_its_name_where_a_value_came_from():
    given = variables_layer({"COMPILECACHE_SAVE": "never"}, Path("/"))
    assert dict(Settings.resolve(given).origins) == {"save": "COMPILECACHE_SAVE"}


def test_variables_of_servers_and_of_other_tools_are_not_read():
    noise = {"SAVE": "often", "STORE": "x"}
    noise |= {each.alias: "much" for each in SETTINGS if each.alias}
    noise |= {each.variable: "much" for each in SETTINGS if not each.sessions}
    assert Settings.resolve(variables_layer(noise, Path("/"))) == DEFAULTS


def test_empty_value_takes_back_what_an_earlier_layer_says():
    settings = Settings.resolve(layer("pytest.ini", store="/s", strict=True), layer(store=""))
    assert (settings.store, settings.strict) == (None, True)
    assert dict(settings.origins) == {"strict": "pytest.ini"}


def test_home_of_nobody_is_named():
    with pytest.raises(SettingsError, match="no such user"):
        Settings.resolve(layer(dir="~nobody-of-this-name/x"))


def test_counts_are_whole_and_positive():
    settings = Settings.resolve(layer(max_store_mb="2", keep_days="7"))
    assert settings.limits.store_bytes == 2 * 1024 * 1024
    assert settings.limits.keep_seconds == 7 * 86_400
    for wrong in ("0", "-1", "1.5", "many", "9" * 30):
        with pytest.raises(SettingsError, match="whole number"):
            Settings.resolve(layer(max_store_mb=wrong))
