"""``python -m pytest_compilecache``: the command ``compilecache``."""

from __future__ import annotations

import sys

from pytest_compilecache.cli import main

if __name__ == "__main__":
    sys.exit(main())
