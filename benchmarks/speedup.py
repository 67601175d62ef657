"""What compiling the model zoo costs, cold and warm, and after how many calls it pays.

Each model is compiled in each way in a new process with an empty cache directory
(cold), then in another with what that left there (warm). Within a process, eager
and compiled calls take turns. Prints a Markdown table.
Usage: python benchmarks/speedup.py [--models bert resnet] [--ways default dynamic]
"""

from __future__ import annotations

import argparse
import math
from typing import Any

from compiling import build_headers, caches, machine, measure

MODELS = (
    "bert", "gpt2", "llama", "qwen3", "t5", "mamba", "vit", "convnext", "resnet", "wav2vec2",
    "x-decoder", "x-vit",
)  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "reduce-overhead": {"mode": "reduce-overhead"},
    "max-autotune": {"mode": "max-autotune"},
    "dynamic": {"dynamic": True},
}


def pays_after(first: float, found: dict[str, float]) -> str:
    """The number of calls after which compiling has taken less time than running eager."""
    gained = found["eager"] - found["compiled"]
    if gained <= 0:
        return "never"
    return f"{math.ceil((first - found['compiled']) / gained):,}"


def row(model: str, way: str) -> str:
    """One line of the table."""
    with caches() as folder:
        cold, warm = (measure(model, WAYS[way], folder) for _ in range(2))
    calls = f"{1000 * warm['eager']:.2f} | {1000 * warm['compiled']:.2f}"
    ratio = f"{warm['eager'] / warm['compiled']:.2f}"
    paid = f"{pays_after(cold['first'], warm)} | {pays_after(warm['first'], warm)}"
    firsts = f"{cold['first']:.1f} | {warm['first']:.1f}"
    return f"| {model} | {way} | {calls} | {ratio} | {firsts} | {paid} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    options = parser.parse_args()
    build_headers()
    print(f"Machine: {machine()}.\n")
    print(
        "| model | compiled | eager ms | compiled ms | speedup | first call cold s "
        "| first call warm s | pays after calls, cold | warm |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for model in options.models:
        for way in options.ways:
            print(row(model, way), flush=True)


if __name__ == "__main__":
    main()
