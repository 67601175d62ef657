"""Which parts of torch are loaded, and what they are called."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
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

Undo = Callable[[], None]


def dynamo_loaded() -> bool:
    """Whether anything can have been compiled in this process."""
    return DYNAMO_UTILS in sys.modules


def nothing() -> None:
    """Undo nothing."""


def loaded(module: str, name: str) -> Any:
    """A name out of a module that torch has loaded, or None."""
    return getattr(sys.modules.get(module), name, None)


def put(owner: Any, name: str, value: Any) -> Undo:
    """Put something in the place of a name of torch's, and say how to take it back."""
    before = vars(owner)[name]
    setattr(owner, name, value)
    return functools.partial(setattr, owner, name, before)
