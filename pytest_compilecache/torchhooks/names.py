"""The modules of torch that hooks wait for, and how to look into those that are loaded."""

from __future__ import annotations

import sys
from typing import Any

CODECACHE = "torch._inductor.codecache"
AUTOGRAD_CACHE = "torch._functorch._aot_autograd.autograd_cache"
DYNAMO_UTILS = "torch._dynamo.utils"
DYNAMO = "torch._dynamo"
CONVERT_FRAME = "torch._dynamo.convert_frame"
DECORATORS = "torch._dynamo.decorators"
EVAL_FRAME = "torch._dynamo.eval_frame"
MODULE = "torch.nn.modules.module"
CPP_BUILDER = "torch._inductor.cpp_builder"


def dynamo_loaded() -> bool:
    """Whether anything can have been compiled in this process."""
    return DYNAMO_UTILS in sys.modules


def loaded(module: str, name: str) -> Any:
    """A name out of a module that torch has loaded, or None."""
    return getattr(sys.modules.get(module), name, None)


def dynamo_setting(name: str) -> Any:
    """A setting of Dynamo's, or None where this torch has none of that name."""
    return getattr(sys.modules.get("torch._dynamo.config"), name, None)
