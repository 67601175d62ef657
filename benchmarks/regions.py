"""The first call of 12-layer models, cold and warm: whole model against repeated blocks.

Each measurement is a new process with a cache directory of its own, in which the model
is the first or the second thing to be compiled; the two ways take turns. Prints a
Markdown table of seconds and of their ratio.
Usage: python benchmarks/regions.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics

from compiling import build_headers, caches, machine, measure, median_ratio

MODELS = ("encoder of 12 layers", "llama of 12 layers")
WAYS = {"whole": {}, "regional": {"regional": True}}


def rounds(model: str, number: int) -> dict[str, list[dict[str, float]]]:
    """Measurements of each way and state."""
    found: dict[str, list[dict[str, float]]] = {}
    for turn in range(number):
        for way, options in list(WAYS.items())[:: 1 if turn % 2 else -1]:
            for second in (False, True):
                with caches() as folder:
                    for state in ("cold", "warm"):
                        name = f"{way} {state}{', second' * second}"
                        found.setdefault(name, []).append(
                            measure(model, options, folder, second=second)
                        )
    return found


def row(model: str, state: str, found: dict[str, list[dict[str, float]]]) -> str:
    """One line of the table."""
    whole, regional = found[f"whole {state}"], found[f"regional {state}"]
    firsts = [(a["first"], b["first"]) for a, b in zip(regional, whole, strict=True)]
    processor = [(a["processor"], b["processor"]) for a, b in zip(regional, whole, strict=True)]
    calls = [(a["compiled"], b["compiled"]) for a, b in zip(regional, whole, strict=True)]
    medians = [statistics.median(one["first"] for one in way) for way in (whole, regional)]
    seconds = " | ".join(f"{median:.2f}" for median in medians)
    ratios = " | ".join(median_ratio(pairs) for pairs in (firsts, processor, calls))
    return f"| {model} | {state} | {seconds} | {ratios} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS)
    options = parser.parse_args()
    number = options.rounds
    build_headers()
    print(f"Machine: {machine()}; {number} rounds.\n")
    print(
        "| model | caches | whole, first call s | regional, first call s "
        "| ratio (min to max) | ratio of processor time | ratio of later calls |"
    )
    print("|---|---|--:|--:|--:|--:|--:|")
    for model in options.models:
        found = rounds(model, number)
        for state in ("cold", "cold, second", "warm", "warm, second"):
            print(row(model, state, found), flush=True)


if __name__ == "__main__":
    main()
