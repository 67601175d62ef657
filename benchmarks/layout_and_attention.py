"""Whether channels last and attention by Inductor make 12-layer models faster on this CPU.

Each measurement is a new process with a cache directory of its own; the ways take
turns. Prints a Markdown table of milliseconds per call, and of the ratio to the
same model compiled without the option.
Usage: python benchmarks/layout_and_attention.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from compiling import build_headers, caches, machine, measure, median_ratio

QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("12 convolutions", {"channels_last": True}),
    ("12 attentions", {"sdpa": "math"}),
)


def compare(model: str, options: dict[str, Any], number: int) -> str:
    """One line of the table."""
    ways: tuple[dict[str, Any], ...] = ({}, options)
    found: list[list[dict[str, float]]] = [[], []]
    for turn in range(number):
        for way in (0, 1) if turn % 2 else (1, 0):
            with caches() as folder:
                found[way].append(measure(model, ways[way], folder))
    plain, with_option = found
    pairs = [(a["compiled"], b["compiled"]) for a, b in zip(with_option, plain, strict=True)]
    cold = [(a["first"], b["first"]) for a, b in zip(with_option, plain, strict=True)]
    eager = statistics.median(one["eager before"] for one in plain + with_option)
    calls = [statistics.median(one["compiled"] for one in way) for way in (plain, with_option)]
    milliseconds = " | ".join(f"{1000 * value:.2f}" for value in (eager, *calls))
    written = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return (
        f"| {model} | {written} | {milliseconds} | {median_ratio(pairs)} | {median_ratio(cold)} |"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    number = parser.parse_args().rounds
    build_headers()
    print(f"Machine: {machine()}; {number} rounds.\n")
    print(
        "| model | option | eager ms | compiled ms | with the option ms "
        "| ratio to compiled (min to max) | ratio of cold first calls |"
    )
    print("|---|---|--:|--:|--:|--:|--:|")
    for model, options in QUESTIONS:
        print(compare(model, options, number), flush=True)


if __name__ == "__main__":
    main()
