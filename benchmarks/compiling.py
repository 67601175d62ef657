"""What the benchmarks of compile options share: models, and one measurement in a new process.

Run as a program, it is that process: it compiles one model in one way, and prints
seconds of its first call (on the clock, and of processors) and of the calls after,
in turn with eager ones, as JSON.
Usage: python benchmarks/compiling.py MODEL OPTIONS-AS-JSON [second]
"""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ZOO = HERE.parent / "examples" / "model_zoo"
CALLS = range(5, 31)  # as many as fit into this many seconds:
SECONDS = 4.0
# Torch's precompiled headers are the toolchain's, not a model's: every run finds them.
HEADERS = tempfile.TemporaryDirectory(prefix="compilecache-bench-headers-")


def build_headers() -> None:
    """Let torch build its precompiled headers, which takes seconds, before anything is measured."""
    with caches() as folder:
        measure("12 convolutions", {}, folder)


@contextmanager
def caches() -> Iterator[Path]:
    """A folder for the caches of one model, compiled in one way."""
    with tempfile.TemporaryDirectory(prefix="compilecache-bench-") as folder:
        yield Path(folder)


def measure(
    model: str, options: dict[str, Any], folder: Path, *, second: bool = False
) -> dict[str, float]:
    """One measurement in a new process, with the caches in the folder.

    Args:
        model: The model.
        options: How it is compiled.
        folder: Where the caches are.
        second: Whether something else is compiled before, so that what torch does once in a
            process, or for an empty cache directory (loading the compiler, probes for vector
            instructions, starting workers), is not part of it.
    """
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith("TORCH")},
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TMPDIR": HEADERS.name,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(ZOO)]),
    }
    command = [sys.executable, __file__, model, json.dumps(options), *(["second"] * second)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{model} {options} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{' '.join(command[2:])}: {found}", file=sys.stderr, flush=True)
    return found


def machine() -> str:
    """The machine, in words."""
    import torch  # noqa: PLC0415

    names = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    cpu = next(line.split(":")[1].strip() for line in names if line.startswith("model name"))
    return (
        f"{os.cpu_count()} cores of {cpu}, {torch.get_num_threads()} threads, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def median_ratio(found: list[tuple[float, float]]) -> str:
    """The ratios of pairs, as median and spread."""
    ratios = [one / other for one, other in found]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _zoo(name: str) -> tuple[Any, dict[str, Any]]:
    from zoo import ARCHITECTURES  # noqa: PLC0415

    architecture = ARCHITECTURES[name]
    return architecture.build(), architecture.inputs()


def _deep_encoder() -> tuple[Any, dict[str, Any]]:
    """Layers of our own: torch's take a path in eval mode that leaves nothing to compile."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = _attention()
            self.mlp = nn.Sequential(
                nn.LayerNorm(128), nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 128)
            )

        def forward(self, x: Any) -> Any:
            x = self.mix(x)
            return x + self.mlp(x)

    return nn.Sequential(*(Layer() for _ in range(12))), {"input": torch.randn(2, 64, 128)}


def _deep_llama() -> tuple[Any, dict[str, Any]]:
    import transformers  # noqa: PLC0415
    from zoo import ONE_LAYER, TEXT, text  # noqa: PLC0415

    shape = {**ONE_LAYER, "num_hidden_layers": 12, "hidden_size": 80, "intermediate_size": 160}
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**TEXT, **shape, use_cache=False)
    ), text()


def _deep_conv() -> tuple[Any, dict[str, Any]]:
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32)

        def forward(self, x: Any) -> Any:
            return x + self.norm(self.conv(x)).relu()

    blocks = nn.Sequential(*(Residual() for _ in range(12)))
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), blocks)
    return model, {"input": torch.randn(4, 3, 64, 64)}


def _deep_attention() -> tuple[Any, dict[str, Any]]:
    import torch  # noqa: PLC0415

    model = torch.nn.Sequential(*(_attention() for _ in range(12)))
    return model, {"input": torch.randn(4, 128, 128)}


@functools.cache
def _attention_class() -> Any:
    from torch import nn  # noqa: PLC0415

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.qkv = nn.LayerNorm(128), nn.Linear(128, 384)
            self.out = nn.Linear(128, 128)

        def forward(self, x: Any) -> Any:
            parts = self.qkv(self.norm(x)).chunk(3, -1)
            q, k, v = (part.unflatten(-1, (4, 32)).transpose(1, 2) for part in parts)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
            return x + self.out(mixed.transpose(1, 2).flatten(-2))

    return Attention


def _attention() -> Any:
    return _attention_class()()


DEEP: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "encoder of 12 layers": _deep_encoder,
    "llama of 12 layers": _deep_llama,
    "12 convolutions": _deep_conv,
    "12 attentions": _deep_attention,
}


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _processor_seconds() -> float:
    """Of this process and of the compilers that it started, which other programs slow down less."""
    return sum(os.times()[:4])


def _repeated(call: Callable[[], Any]) -> list[Any]:
    started, found = time.perf_counter(), [call()]
    while len(found) < CALLS.stop - 1:
        if len(found) >= CALLS.start and time.perf_counter() - started > SECONDS:
            break
        found.append(call())
    return found


def main() -> None:
    """Measure in this process."""
    import torch  # noqa: PLC0415

    from pytest_compilecache import CompileOptions  # noqa: PLC0415
    from pytest_compilecache.compiling.preparing import compile_prepared  # noqa: PLC0415

    name, options = sys.argv[1], CompileOptions(**json.loads(sys.argv[2]))
    torch.manual_seed(0)
    model, inputs = DEEP[name]() if name in DEEP else _zoo(name)
    model.eval()

    def compile_one(target: Any) -> Any:
        return torch.compile(
            target,
            backend=options.backend, mode=options.mode, dynamic=options.dynamic,
            fullgraph=options.fullgraph, options=options.options,
        )  # fmt: skip

    # Eager first, on what channels_last may lay otherwise.
    eager = model
    with torch.inference_mode():
        for _ in range(3):
            eager(**inputs)
        before = statistics.median(_repeated(lambda: _seconds(lambda: eager(**inputs))))
        if sys.argv[3:] == ["second"]:
            torch.compile(torch.sin)(torch.ones(3))
        compiled = compile_prepared(model, options, compile_one)
        used = _processor_seconds()
        first = _seconds(lambda: compiled(**inputs))
        used = _processor_seconds() - used
        compiled(**inputs)
        pairs = _repeated(
            lambda: (_seconds(lambda: eager(**inputs)), _seconds(lambda: compiled(**inputs)))
        )
    print(
        json.dumps({
            "first": first,
            "processor": used,
            "eager before": before,
            "eager": statistics.median(one for one, _ in pairs),
            "compiled": statistics.median(other for _, other in pairs),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
