"""Runs a model once, from a given state, and keeps all that the run gave and left."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_compilecache.compiling.copying import Arguments, TensorCopier
from pytest_compilecache.compiling.state import SavedState, save_state
from pytest_compilecache.compiling.structure import Leaf, leaves_of, tensors_of
from pytest_compilecache.errors import NotComparableError

# Any will do, but all of one's own: a sum has gradients that hide errors, such as
# those of a softmax, whose outputs sum to one whatever its inputs are.
_COTANGENT_SEED = 20_260_801


@dataclass(frozen=True, slots=True)
class Generators:
    """The states of the random generators of Python, NumPy and torch."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: list[torch.Tensor]

    @classmethod
    def read(cls) -> Generators:
        """Their states at this moment."""
        numpy = sys.modules.get("numpy")
        return cls(
            random.getstate(),
            numpy.random.get_state() if numpy is not None else None,
            torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        )

    def restore(self) -> None:
        """Give them these states."""
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)

    def drawn_from(self) -> bool:
        """Whether torch drew from its generators since."""
        now = Generators.read()
        pairs = zip([self.cpu, *self.cuda], [now.cpu, *now.cuda], strict=False)
        return not all(torch.equal(before, after) for before, after in pairs)


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and torch's random generators."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    torch.manual_seed(seed)


@dataclass(slots=True)
class Cotangents:
    """What outputs are multiplied by to be differentiated: the same numbers in every run."""

    _drawn: dict[tuple[str, torch.Size], torch.Tensor] = field(default_factory=dict)

    def of(self, path: str, output: torch.Tensor) -> torch.Tensor:
        """The cotangent of an output."""
        key = (path, output.shape)
        if key not in self._drawn:
            generator = torch.Generator().manual_seed(_COTANGENT_SEED + len(self._drawn))
            kind = torch.complex64 if output.is_complex() else torch.float32
            drawn = torch.randn(output.shape, generator=generator, dtype=kind)
            # Rounded as the output is, so that wider runs multiply by the same.
            self._drawn[key] = drawn.to(output.dtype)
        return self._drawn[key].to(device=output.device, dtype=output.dtype)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave and left.

    Attributes:
        leaves: All that another run must agree with: outputs, arguments, state, gradients.
        error: What it raised, or None.
        state: The state, as it left it.
        drew: Whether it drew random numbers.
        differentiated: Whether it has gradients.
    """

    leaves: tuple[Leaf, ...]
    error: Exception | None
    state: SavedState
    drew: bool
    differentiated: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is made several times, each from the same start.

    Attributes:
        arguments: Its arguments; runs get copies.
        roots: Where the state is found.
        before: The state at the start.
        start: The generators at the start.
        gradients: Whether to differentiate; None says where there is anything to.
        cotangents: What outputs are multiplied by.
    """

    arguments: Arguments
    roots: Mapping[str, Any]
    before: SavedState
    start: Generators
    gradients: bool | None
    cotangents: Cotangents = field(default_factory=Cotangents)

    def run(self, function: Callable[..., Any], *, wide: bool = False) -> Run:
        """Run once; an error of the function is kept.

        Args:
            function: What to call.
            wide: Whether the arguments are widened to ``float64``.

        Raises:
            NotComparableError: The arguments cannot be copied, or there is nothing to
                differentiate where that was demanded.
        """
        arguments = self.arguments.copy(wide=wide)
        inputs = _inputs(arguments)
        self.start.restore()
        leaves: list[Leaf] = []
        gradients: dict[str, Any] = {}
        error = None
        try:
            output = function(*arguments.positional, **arguments.named)
            # Copied: it may lie in the state that the next run starts with.
            leaves = _copied(leaves_of(output, "output"))
            gradients = self._differentiate(output, inputs)
        except NotComparableError:
            raise
        except Exception as raised:  # noqa: BLE001  (compared with the other run's)
            error = raised
        drew = self.start.drawn_from()
        for name, value in arguments.by_name().items():
            leaves += leaves_of(value, f"{name} after the call")
        state = save_state(self.roots)
        leaves += (Leaf(name, value) for name, value in {**state.values, **gradients}.items())
        return Run(tuple(leaves), error, state, drew, bool(gradients))

    def _differentiate(self, output: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        if self.gradients is False or not torch.is_grad_enabled():
            return {}
        wanted = {**self.before.parameters(), **inputs}
        outputs = {
            path: each
            for path, each in tensors_of(output, "output")
            # Of a meta tensor there is nothing to differentiate; to compare it is refused.
            if each.requires_grad and each.device.type != "meta"
        }
        if not (wanted and outputs):
            return {}
        cotangents = [self.cotangents.of(path, each) for path, each in outputs.items()]
        found = torch.autograd.grad(
            list(outputs.values()), list(wanted.values()), cotangents, allow_unused=True
        )
        return {f"gradient of {name}": each for name, each in zip(wanted, found, strict=True)}


def _inputs(arguments: Arguments) -> dict[str, torch.Tensor]:
    values = arguments.by_name().items()
    found = (each for name, value in values for each in tensors_of(value, name))
    return {path: tensor for path, tensor in found if tensor.requires_grad}


def _copied(leaves: Iterable[Leaf]) -> list[Leaf]:
    copier = TensorCopier()
    return [
        Leaf(leaf.path, copier.copy(leaf.value)) if isinstance(leaf.value, torch.Tensor) else leaf
        for leaf in leaves
    ]
