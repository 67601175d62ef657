from __future__ import annotations

from pathlib import Path

import pytest

from pytest_compilecache.errors import SettingsError
from pytest_compilecache.settings import Layer, Settings, environment_layer


def layer(origin: str = "command line", base: str = "/base", **values: object) -> Layer:
    return Layer(origin, values, Path(base))


def test_later_layers_win_and_every_value_says_where_it_came_from():
    settings = Settings.resolve(
        layer("pytest.ini", store="a", save="never"), layer("command line", store="/b")
    )
    assert (settings.store, settings.save) == ("/b", "never")
    assert dict(settings.origins) == {"store": "command line", "save": "pytest.ini"}


def test_nothing_given_is_the_default():
    assert Settings.resolve(layer(store=None, save="", strict=None)) == Settings()


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
    assert str(caught.value).startswith(f"compilecache {name} (pytest.ini): ")
    assert caught.value.remedy


def test_unusable_variable_is_named_as_the_user_wrote_it():
    with pytest.raises(SettingsError, match=r"^COMPILECACHE_SAVE: 'often' cannot be used"):
        Settings.resolve(environment_layer({"COMPILECACHE_SAVE": "often"}, Path("/")))


def test_unprefixed_variables_of_other_tools_are_not_read():
    noise = {"SAVE": "often", "STORE": "x", "MAX_CACHE_SIZE_MB": "much"}
    assert Settings.resolve(environment_layer(noise, Path("/"))) == Settings()


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
