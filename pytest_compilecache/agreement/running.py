"""Runs a model once, from a given state, and keeps all that the run gave and left."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_compilecache.agreement.state import SavedState, save_state
from pytest_compilecache.agreement.values import (
    Arguments,
    Change,
    Leaf,
    TensorCopier,
    leaves_of,
    tensors_of,
)
from pytest_compilecache.errors import NotComparableError

# Any will do, but all of one's own: a sum has gradients that hide errors, such as
# those of a softmax, whose outputs sum to one whatever its inputs are.
_COTANGENT_SEED = 20_260_801

WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}
_NARROWING = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)


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


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float64, or in complex128, if it is of a narrower such type."""
    return tensor.to(WIDE.get(tensor.dtype, tensor.dtype))


class Nudge:
    """Moves each value by one rounding step up, down, or not: so rounding errors differ."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator("cpu").manual_seed(seed)

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """The nudged tensor; the n-th of two with one seed are nudged alike."""
        if tensor.dtype not in WIDE or tensor.layout is not torch.strided or tensor.is_nested:
            return tensor
        steps = torch.randint(-1, 2, tensor.shape, generator=self._generator, device="cpu")
        factors = 1 + steps.to(tensor.device) * torch.finfo(tensor.dtype).eps
        return (tensor * factors).to(tensor.dtype)


@dataclass(slots=True)
class Cotangents:
    """What outputs are multiplied by to be differentiated: the same numbers in every run."""

    _drawn: dict[tuple[str, torch.Size], torch.Tensor] = field(default_factory=dict)

    def of(self, path: str, output: torch.Tensor) -> torch.Tensor:
        """The cotangent of an output."""
        key = (path, output.shape)
        if key not in self._drawn:
            generator = torch.Generator("cpu").manual_seed(_COTANGENT_SEED + len(self._drawn))
            kind = torch.complex64 if output.is_complex() else torch.float32
            drawn = torch.randn(output.shape, generator=generator, dtype=kind, device="cpu")
            # Rounded as the output is, so that wider runs multiply by the same.
            self._drawn[key] = drawn.to(output.dtype)
        return self._drawn[key].to(device=output.device, dtype=output.dtype)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave and left."""

    # All that another run must agree with: outputs, arguments, state, gradients.
    leaves: tuple[Leaf, ...]
    error: Exception | None
    state: SavedState
    drew_random_numbers: bool
    has_gradients: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A call that is made several times, each from the same start.

    Attributes:
        arguments: Its arguments; runs get copies.
        roots: Where the state is found.
        before: The state at the start.
        start: The generators at the start.
        gradients: Whether to differentiate; ``None`` where there is anything to.
    """

    arguments: Arguments
    roots: Mapping[str, Any]
    before: SavedState
    start: Generators
    gradients: bool | None
    _cotangents: Cotangents = field(default_factory=Cotangents)

    def run(self, function: Callable[..., Any], change: Change | None = None) -> Run:
        """Run once, from the start; an error of the function is kept.

        Args:
            function: What to call.
            change: What floating-point tensors of the arguments and of the state become.

        Raises:
            NotComparableError: The arguments cannot be copied.
        """
        self.before.restore()
        arguments = self.arguments.copy(change)
        inputs = {leaf.path: leaf.value for leaf in arguments.leaves() if _requires_grad(leaf)}
        with self.before.changed(change):
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

    def run_in_float64(self, function: Callable[..., Any], change: Change | None = None) -> Run:
        """Run once with everything in float64.

        Args:
            function: What to call.
            change: What tensors become before they are widened.
        """

        def run_wide(*args: Any, **kwargs: Any) -> Any:
            with _default_float64(), _Float64():
                return function(*args, **kwargs)

        return self.run(run_wide, lambda one: widened(change(one) if change else one))

    def count_elements(self) -> int:
        """How many floating-point numbers the arguments and the state have."""
        arguments = [leaf.value for leaf in self.arguments.leaves()]
        state = [saved.value for saved in self.before.tensors.values()]
        tensors = (each for each in arguments + state if isinstance(each, torch.Tensor))
        kinds = (*WIDE, *WIDE.values())
        return sum(each.numel() for each in tensors if each.dtype in kinds)

    def _differentiate(self, output: Any, inputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        if self.gradients is False or not torch.is_grad_enabled():
            return {}
        wanted = {**self.before.parameters(), **inputs}
        outputs = {
            path: each
            for path, each in tensors_of(output, "output").items()
            # Of a meta tensor there is nothing to differentiate; to compare it is refused.
            if each.requires_grad and each.device.type != "meta"
        }
        if not (wanted and outputs):
            return {}
        cotangents = [self._cotangents.of(path, each) for path, each in outputs.items()]
        found = torch.autograd.grad(
            list(outputs.values()), list(wanted.values()), cotangents, allow_unused=True
        )
        return {f"gradient of {name}": each for name, each in zip(wanted, found, strict=True)}


class _Float64(TorchFunctionMode):  # type: ignore[misc]
    """Computes in float64 also where code names a narrower type.

    Many models round on purpose, such as a norm that works in float32 whatever
    it is given; a reference that did so too would be no better than what it judges.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        wide = {name: _wide_type(value) for name, value in (kwargs or {}).items()}
        function = torch.Tensor.double if func in _NARROWING else func
        return function(*map(_wide_type, args), **wide)


def _wide_type(value: Any) -> Any:
    return WIDE.get(value, value) if isinstance(value, torch.dtype) else value


@contextlib.contextmanager
def _default_float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _requires_grad(leaf: Leaf) -> bool:
    return isinstance(leaf.value, torch.Tensor) and leaf.value.requires_grad


def _copied(leaves: Iterator[Leaf]) -> list[Leaf]:
    copier = TensorCopier()
    return [
        Leaf(leaf.path, copier.copy(leaf.value)) if isinstance(leaf.value, torch.Tensor) else leaf
        for leaf in leaves
    ]
