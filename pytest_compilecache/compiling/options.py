"""How to compile: torch.compile's own arguments. Plain data; torch is not imported here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """How to compile: the arguments of ``torch.compile``.

    Attributes:
        mode: Inductor's mode, such as ``"reduce-overhead"``.
        fullgraph: Whether a graph break is an error.
        dynamic: Whether sizes are dynamic: always, never, or when they vary (``None``).
        backend: A backend's name or the backend.
        options: Inductor's options.
    """

    mode: str | None = None
    fullgraph: bool = False
    dynamic: bool | None = None
    backend: str | Callable[..., Any] = "inductor"
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.mode and self.options:
            raise ValueError(
                "torch.compile takes either mode or options, not both "
                "(put the mode's settings into options)"
            )
