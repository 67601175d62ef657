"""A warning that torch means to hide while it compiles, where warnings are errors."""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from pytest_compilecache.patches import Patches

_MESSAGE = r"The \.grad attribute of a Tensor"


def hide_gradient_warnings(patches: Patches, wanted: Callable[[], bool]) -> bool:
    """Let Dynamo's own look at ``tensor.grad`` pass where warnings are errors.

    It looks at each input of a graph. Torch warns of that for what another layer
    computed, and hides the warning only where it is shown: made an error, it
    stops the compilation (torch 2.8 to 2.15).

    Args:
        patches: Undoes it.
        wanted: Whether what is compiled now was asked of us. It must not raise.

    Returns:
        Whether this torch has a place for it.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @contextlib.contextmanager
        @functools.wraps(original)
        def hide(*args: Any, **kwargs: Any) -> Iterator[None]:
            with original(*args, **kwargs), contextlib.ExitStack() as stack:
                if wanted():
                    stack.enter_context(warnings.catch_warnings())
                    warnings.filterwarnings("ignore", _MESSAGE)
                yield

        return hide

    return patches.wrap(sys.modules.get("torch._logging"), "hide_warnings", make)
