"""Asks torch, in a process of its own, which vector instructions it picks here. Prints JSON.

It is run by ``compilecache doctor``, which must work where torch cannot be imported.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from pytest_compilecache.torchhooks import cache_keys


def main() -> None:
    """Print what torch picks, and which of the processor's instructions do not work."""
    import torch._inductor.codecache  # noqa: PLC0415
    import torch._inductor.cpu_vec_isa  # noqa: F401, PLC0415  (what is not loaded cannot be asked)

    probe = cache_keys.probe_isa()
    print(json.dumps(asdict(probe) if probe is not None else None))  # noqa: T201


if __name__ == "__main__":
    main()
