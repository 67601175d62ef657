"""How much the tests of this folder try: a sample, or with COMPILECACHE_TESTS=soak everything."""

from __future__ import annotations

import os

SOAK = os.environ.get("COMPILECACHE_TESTS") == "soak"


def stride(short: int) -> int:
    """The distance between the positions that are tried."""
    return 1 if SOAK else short
