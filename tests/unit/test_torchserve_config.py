"""What each form of TorchServe's model config means. `tests/torchserve` asks TorchServe itself."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache import CompileOptions
from pytest_compilecache.errors import (
    CompileOptionDeprecationWarning,
    CompileOptionError,
    CompileOptionWarning,
    MissingPackageError,
)

EXAMPLES = Path(__file__).parents[2] / "examples" / "torchserve"
EAGER = CompileOptions(enabled=False)
QUIET = {
    "compile.yaml": CompileOptions(mode="reduce-overhead", dynamic=False),
    "compile_defaults.yaml": CompileOptions(),
    "compile_options.yaml": CompileOptions(fullgraph=True, options={"epilogue_fusion": True}),
    "disabled.yaml": EAGER,
}
DEPRECATED = {
    "older_name.yaml": CompileOptions(),
    "older_mapping.yaml": CompileOptions(mode="max-autotune"),
}
WARNED = {
    "unknown_backend.yaml": r"no backend 'inductr'.* eager \(it knows eager, aot_eager, inductor",
    "ahead_of_time.yaml": "compiled ahead of time, so the server runs the model eager",
    "no_compile.yaml": "no such key, so the server runs the model eager",
}


@pytest.fixture(autouse=True)
def no_ipex(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TS_IPEX_ENABLE", raising=False)


@pytest.fixture
def example() -> Any:
    pytest.importorskip("yaml")
    return EXAMPLES.joinpath


def test_every_example_is_read_by_a_test_here():
    there = {file.name for file in EXAMPLES.glob("*.yaml")}
    assert there == {*QUIET, *DEPRECATED, *WARNED}


@pytest.mark.parametrize("name", QUIET)
def test_form_of_today_is_read_without_a_word(example: Any, name: str):
    assert CompileOptions.from_torchserve(example(name)) == QUIET[name]


@pytest.mark.parametrize("name", DEPRECATED)
def test_older_form_means_the_same_and_is_deprecated(example: Any, name: str):
    with pytest.warns(CompileOptionDeprecationWarning, match="enable: true") as caught:
        options = CompileOptions.from_torchserve(str(example(name)))
    assert options == DEPRECATED[name]
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]


@pytest.mark.parametrize("name", WARNED)
def test_what_the_server_runs_eager_runs_eager_with_a_warning(example: Any, name: str):
    with pytest.warns(CompileOptionWarning, match=WARNED[name]):
        assert CompileOptions.from_torchserve(example(name)) == EAGER


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"compile": {"enable": True, "mod": "x"}}, "pt2: compile: mod: torch.compile has no such"),
        ({"enable": True, "backend": "inductor"}, "pt2: enable: torch.compile has no such"),
        ({"backend": "inductr"}, "pt2: backend: TorchServe knows no backend 'inductr'"),
        ({"compile": {"enable": True, "mode": "default", "options": {}}}, "either mode or options"),
    ],
)
def test_what_torch_compile_refuses_is_served_eager(section: dict[str, Any], told: str):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert CompileOptions.from_torchserve({"pt2": section}) == EAGER
    assert told in str(caught[-1].message)


@pytest.mark.parametrize(
    "section", [None, 3, True, ["inductor"], "compile", {"compile": True}, {"compile": {}}]
)
def test_what_no_server_starts_with_is_an_error(section: object):
    with pytest.raises(CompileOptionError) as caught:
        CompileOptions.from_torchserve({"pt2": section})
    assert caught.value.subject.startswith("pt2")
    assert caught.value.remedy == "write pt2: {compile: {enable: true}}"


def test_switch_that_is_none_is_eager_as_in_the_last_release():
    with pytest.warns(CompileOptionWarning, match="enable: 'false' is no switch"):
        options = CompileOptions.from_torchserve({"pt2": {"compile": {"enable": "false"}}})
    assert options == EAGER


def test_disable_of_torch_compile_itself_is_eager():
    config = {"pt2": {"compile": {"enable": True, "disable": True}}}
    assert CompileOptions.from_torchserve(config) == EAGER


def test_value_of_a_wrong_type_is_an_error_that_says_where():
    config = {"pt2": {"compile": {"enable": True, "fullgraph": "often"}}}
    with pytest.raises(CompileOptionError, match=r"^pt2: compile: fullgraph: 'often' has a wrong"):
        CompileOptions.from_torchserve(config)


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        ({"pt2": {"compile": {"enable": False}}}, True),
        ({"pt2": {"compile": {"enable": True}}}, False),
    ],
)
def test_ipex_is_asked_for_only_where_the_server_does_not_compile(
    monkeypatch: pytest.MonkeyPatch, config: Mapping[str, Any], asked: bool
):
    monkeypatch.setenv("TS_IPEX_ENABLE", "true")
    options = CompileOptions.from_torchserve(config)
    assert (options.ipex, options.enabled) == (asked, not asked)


def test_configs_are_left_as_they_are():
    config = {"pt2": {"compile": {"enable": True, "mode": "default"}}}
    first = CompileOptions.from_torchserve(config)
    assert CompileOptions.from_torchserve(config) == first


@pytest.mark.parametrize("text", ["a: [", "- a\n- b\n", ""])
def test_file_that_is_no_config_is_told_by_name(tmp_path: Path, text: str):
    pytest.importorskip("yaml")
    file = tmp_path / "model-config.yaml"
    file.write_text(text)
    with pytest.raises(CompileOptionError) as caught:
        CompileOptions.from_torchserve(file)
    assert caught.value.subject == str(file)


def test_missing_yaml_names_the_package_and_the_other_way(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingPackageError, match=r"pytest-compilecache\[torchserve\]"):
        CompileOptions.from_torchserve("model-config.yaml")
