"""A TorchServe handler whose workers start from what the first one compiled.

It compiles as ``pt2`` in model-config.yaml says, but what does not compile runs eager.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pytest_compilecache import (
    CompileOptions,
    OperationStatus,
    compile_with_fallback,
    load_compile_cache,
    save_compile_cache,
)

try:
    from ts.torch_handler.base_handler import BaseHandler
except ImportError:  # a script or a test that calls the handler by itself
    BaseHandler = object

# Everything that the store has for this machine is here.
LOADED = (OperationStatus.SUCCESS, OperationStatus.SKIPPED)


class CompiledHandler(BaseHandler):
    """In place of ``BaseHandler.initialize``, which compiles without a cache."""

    def initialize(self, context: Any):
        loaded = load_compile_cache()
        config = context.model_yaml_config
        properties = context.system_properties
        self.context, self.manifest = context, context.manifest
        self.mapping = None
        self.device = device_of(properties.get("gpu_id"))
        model = load_model(Path(properties["model_dir"]), self.manifest["model"], self.device)
        options = CompileOptions.from_torchserve(config)
        self.model = compile_with_fallback(model, **asdict(options))
        self._misses = 0
        for shape in config["handler"]["warm_up_shapes"]:
            self.inference(torch.zeros(shape))
        self._save_if_new(nothing_loaded=options.enabled and loaded not in LOADED)
        self.initialized = True

    def handle(self, data: list[Any], context: Any) -> list[Any]:
        self.context = context
        answer = self.postprocess(self.inference(self.preprocess(data)))
        self._save_if_new()  # a batch of a size that was not met before is compiled
        return answer

    def preprocess(self, data: list[Any]) -> torch.Tensor:
        rows = [request.get("data") or request.get("body") for request in data]
        return torch.tensor(rows, dtype=torch.float32)

    def inference(self, data: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    def postprocess(self, data: torch.Tensor) -> list[Any]:
        return data.tolist()

    def _save_if_new(self, *, nothing_loaded: bool = False):
        """Save when there was nothing to load, or when a graph was found in no cache."""
        before, self._misses = self._misses, misses()
        if nothing_loaded or self._misses > before:
            print("compile cache saved:", save_compile_cache().name)


def device_of(gpu: int | None) -> torch.device:
    on_gpu = gpu is not None and torch.cuda.is_available()
    return torch.device(f"cuda:{gpu}" if on_gpu else "cpu")


def load_model(folder: Path, files: dict[str, str], device: torch.device) -> torch.nn.Module:
    """The one class of ``modelFile``, with the weights of ``serializedFile`` if there are any."""
    module = importlib.import_module(Path(files["modelFile"]).stem)
    (model_class,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    )
    model = model_class()
    if "serializedFile" in files:
        weights = folder / files["serializedFile"]
        model.load_state_dict(torch.load(weights, map_location=device, weights_only=True))
    return model.to(device).eval()


def misses() -> int:
    """How many graphs torch compiled because no cache had them."""
    from torch._dynamo.utils import counters  # noqa: PLC0415  (no public name tells)

    return counters["inductor"]["fxgraph_cache_miss"]
