"""TorchServe's own handler and ours must compile a model alike, or not at all, for every form."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_compilecache import CompileOptions
from pytest_compilecache.compiling.torchserve import BACKENDS
from pytest_compilecache.errors import CompileOptionError, CompileOptionWarning

handlers = pytest.importorskip("ts.torch_handler.base_handler")
util = pytest.importorskip("ts.utils.util")
torch = pytest.importorskip("torch")
yaml = pytest.importorskip("yaml")

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "torchserve").glob("*.yaml"))
SECTIONS: list[Any] = [
    "aot_eager",
    "inductr",
    "compile",
    "export",
    "",
    None,
    True,
    3,
    [],
    ["compile"],
    {},
    {"mode": "max-autotune"},
    {"backend": "eager", "fullgraph": True},
    {"backend": "inductr"},
    {"backend": None},
    {"enable": True, "backend": "inductor"},
    {"disable": True},
    {"compile": None},
    {"compile": True},
    {"compile": "enable"},
    {"compile": {}},
    {"compile": {"backend": "inductor"}},
    {"compile": {"enable": False}},
    {"compile": {"enable": 0}},
    {"compile": {"enable": 1}},
    {"compile": {"enable": "true"}},
    {"compile": {"enable": "false"}},
    {"compile": {"enable": True, "backend": "inductr"}},
    {"compile": {"enable": True, "dynamic": True, "fullgraph": False}},
    {"compile": {"enable": True, "mod": "max-autotune"}},
    {"compile": {"enable": True, "mode": "default", "options": {"max_autotune": True}}},
    {"compile": {"enable": True, "mode": "default", "options": {}}},
    {"compile": {"enable": True, "options": {"max_autotune": True}}},
    {"compile": {"enable": True, "disable": True}},
    {"compile": {"enable": True}, "export": {"aot_compile": True}},
    {"compile": {"enable": False}, "export": {"aot_compile": True}},
    {"export": {"aot_compile": False}},
    {"export": None, "backend": "inductor"},
]
MODEL = (
    "import torch\nclass Model(torch.nn.Linear):\n    def __init__(self): super().__init__(2, 2)\n"
)
COMPARED = ("fullgraph", "dynamic", "backend", "mode", "options")
SIGNATURE = inspect.signature(torch.compile)
REFUSED = "the server does not start"


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads a model as TorchServe does; tells what the model was compiled with, if it was."""
    (tmp_path / "model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    original = torch.compile

    def load(config: dict[str, Any]) -> Any:
        asked: list[dict[str, Any]] = []

        def compile_it(*args: Any, **kwargs: Any) -> Any:
            compiled = original(*args, **kwargs)
            asked.append(kwargs)
            return compiled

        monkeypatch.setattr(torch, "compile", compile_it)
        context = SimpleNamespace(
            model_yaml_config=config,
            manifest={"model": {"modelFile": "model.py"}},
            system_properties={"model_dir": str(tmp_path)},
        )
        try:
            # A warning of torch's that is an error would keep it from compiling.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                handlers.BaseHandler().initialize(context)
        except (KeyError, TypeError, ValueError):
            return REFUSED
        return complete(asked[0]) if asked else None

    return load


def complete(arguments: dict[str, Any]) -> Any:
    """The arguments with torch's defaults, or None where they say not to compile."""
    if arguments.get("disable"):
        return None
    bound = SIGNATURE.bind(None, **arguments)
    bound.apply_defaults()
    full = {name: bound.arguments[name] for name in COMPARED}
    return {**full, "backend": full["backend"] or "inductor"}


def ours(config: dict[str, Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CompileOptionWarning)
            options = CompileOptions.from_torchserve(config)
    except CompileOptionError:
        return REFUSED
    return {name: getattr(options, name) for name in COMPARED} if options.enabled else None


def test_both_know_the_same_backends():
    assert [backend.value for backend in util.PT2Backend] == list(BACKENDS)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_compiles_alike(serve: Any, file: Path):
    config = yaml.safe_load(file.read_text())
    assert ours(config) == serve(config)


@pytest.mark.parametrize("section", SECTIONS, ids=str)
def test_every_other_form_compiles_alike(serve: Any, section: Any):
    config = {"pt2": section}
    assert ours(config) == serve(config)


def test_the_handler_is_real_and_compiles(serve: Any):
    expected = complete({"mode": "max-autotune"})
    assert serve({"pt2": {"compile": {"enable": True, "mode": "max-autotune"}}}) == expected
    assert serve({"pt2": None}) == REFUSED
