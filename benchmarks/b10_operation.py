"""One save or load by b10-transfer in a process of its own, told as JSON.

Usage: PYTHON b10_operation.py save|load, with b10-transfer's own variables set.
"""

from __future__ import annotations

import json
import logging
import sys
import time


def main() -> None:
    """Do as the argument says, timed without the imports: its own takes seconds for torch."""
    from b10_transfer import load_compile_cache, save_compile_cache  # noqa: PLC0415

    logging.disable(logging.INFO)
    act = {"save": save_compile_cache, "load": load_compile_cache}[sys.argv[1]]
    started = time.perf_counter()
    status = act()
    print(json.dumps({"seconds": time.perf_counter() - started, "status": status.name.lower()}))


if __name__ == "__main__":
    main()
