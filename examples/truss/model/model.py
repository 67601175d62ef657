"""A model in Truss's shape whose replicas start from what the first one compiled.

Torch is imported in ``load()``, after the cache: that is the best order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_compilecache import OperationStatus, load_compile_cache, save_compile_cache

if TYPE_CHECKING:
    import torch

FEATURES = 16
# Everything that the store has for this machine is here.
LOADED = (OperationStatus.SUCCESS, OperationStatus.SKIPPED)


class Model:
    def __init__(self, **kwargs: Any):
        self._warm_up_rows = kwargs["config"]["model_metadata"]["warm_up_rows"]
        self._misses = 0

    def load(self):
        loaded = load_compile_cache()

        import torch  # noqa: PLC0415

        self._network = torch.compile(build_network(), dynamic=False)
        for rows in self._warm_up_rows:
            self._run(torch.zeros(rows, FEATURES))
        self._save_if_new(nothing_loaded=loaded not in LOADED)

    def predict(self, model_input: dict[str, Any]) -> dict[str, Any]:
        import torch  # noqa: PLC0415

        scores = self._run(torch.tensor(model_input["rows"], dtype=torch.float32))
        self._save_if_new()  # a number of rows that was not met before is compiled
        return {"scores": scores.tolist()}

    def _run(self, rows: torch.Tensor) -> torch.Tensor:
        import torch  # noqa: PLC0415

        with torch.inference_mode():
            return self._network(rows)

    def _save_if_new(self, *, nothing_loaded: bool = False):
        """Save when there was nothing to load, or when a graph was found in no cache."""
        before, self._misses = self._misses, misses()
        if nothing_loaded or self._misses > before:
            print("compile cache saved:", save_compile_cache().name)


def build_network() -> torch.nn.Module:
    """Stands for yours, whose weights come from ``kwargs["data_dir"]``."""
    import torch  # noqa: PLC0415

    torch.manual_seed(0)
    hidden = torch.nn.Linear(FEATURES, 64)
    return torch.nn.Sequential(hidden, torch.nn.GELU(), torch.nn.Linear(64, 3)).eval()


def misses() -> int:
    """How many graphs torch compiled because no cache had them."""
    from torch._dynamo.utils import counters  # noqa: PLC0415  (no public name tells)

    return counters["inductor"]["fxgraph_cache_miss"]
