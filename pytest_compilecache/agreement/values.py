"""Takes values apart into named leaves, and copies the arguments of a call for each run.

A copy that was contiguous, or that shared no memory with its neighbour, would hide the very
errors that a comparison is to find: copies have the strides, the aliasing and the marks of
their originals.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_compilecache.errors import NotComparableError
from pytest_compilecache.torchhooks import compiled as torch_compiled

# What a run computes with instead of a tensor that it was given: a wider one, for example.
Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is not taken apart further, with the path that leads to it."""

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class Holder:
    """What holds other values: its type, and the names of its parts in no order."""

    type: type
    parts: frozenset[str]

    def __str__(self) -> str:
        return f"{self.type.__name__} of {len(self.parts)}"


def leaves_of(value: Any, path: str, above: tuple[int, ...] = ()) -> Iterator[Leaf]:
    """All leaves of a value, each holder before its parts.

    Mappings, sequences, dataclasses and registered pytrees are taken apart. So are other
    objects, by their attributes, if their ``==`` compares nothing but identity.

    Args:
        value: The value.
        path: What messages call the value.
        above: The identities of the values that hold this one.
    """
    parts = None if id(value) in above else _parts_of(value)
    if parts is None:
        yield Leaf(path, value)
        return
    yield Leaf(path, Holder(type(value), frozenset(parts)))
    for name, part in parts.items():
        yield from leaves_of(part, f"{path}{name}", (*above, id(value)))


def tensors_of(value: Any, path: str) -> dict[str, torch.Tensor]:
    """The tensors among the leaves, by their paths."""
    leaves = leaves_of(value, path)
    return {leaf.path: leaf.value for leaf in leaves if isinstance(leaf.value, torch.Tensor)}


def compares_values(value: Any) -> bool:
    """Whether ``==`` says more of a value than which object it is."""
    equals: Any = type(value).__eq__
    return equals is not object.__eq__


def _parts_of(value: Any) -> dict[str, Any] | None:
    """The parts of a value by the names that follow its own, or None for a leaf."""
    if isinstance(value, (torch.Tensor, torch.nn.Module, type, str, bytes)):
        return None
    if isinstance(value, Mapping):
        return {f"[{key!r}]": part for key, part in value.items()}
    names: Any = getattr(value, "_fields", None) if isinstance(value, tuple) else None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    if names is not None:
        return {f".{name}": getattr(value, name) for name in names if hasattr(value, name)}
    is_sequence = isinstance(value, (list, tuple))
    sequence = value if is_sequence else torch_compiled.pytree_children(value)
    if sequence is not None:
        return {f"[{index}]": part for index, part in enumerate(sequence)}
    if compares_values(value) or callable(value) or not hasattr(value, "__dict__"):
        return None
    return {f".{name}": part for name, part in vars(value).items()}


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call."""

    positional: tuple[Any, ...]
    named: dict[str, Any]

    def by_name(self) -> dict[str, Any]:
        """The arguments by what messages call them."""
        positional = {f"argument {index}": each for index, each in enumerate(self.positional)}
        return {**positional, **{f"argument {name!r}": each for name, each in self.named.items()}}

    def leaves(self) -> Iterator[Leaf]:
        """The leaves of all arguments."""
        for name, each in self.by_name().items():
            yield from leaves_of(each, name)

    def copy(self, change: Change | None = None) -> Arguments:
        """A copy that shares no memory with the original. Modules are state and not copied.

        Args:
            change: What floating-point tensors become.

        Raises:
            NotComparableError: An argument cannot be copied.
        """
        memo: dict[int, Any] = {}
        copier = TensorCopier(change)
        for leaf in self.leaves():
            if isinstance(leaf.value, torch.Tensor):
                memo[id(leaf.value)] = copier.copy(leaf.value)
            elif isinstance(leaf.value, torch.nn.Module):
                memo[id(leaf.value)] = leaf.value
        try:
            positional, named = copy.deepcopy((self.positional, self.named), memo)
        except Exception as error:
            reason = f"they cannot be copied, so two runs would share them: {error}"
            remedy = "give tensors and plain values, and bind the rest to the function"
            raise NotComparableError("the arguments", reason, remedy) from error
        return Arguments(positional, named)


@dataclass(slots=True)
class TensorCopier:
    """Copies tensors, and every memory that they share once."""

    change: Change | None = None
    _copies: dict[int, torch.Tensor] = field(default_factory=dict)
    _flat: dict[tuple[torch.device, int, torch.dtype], torch.Tensor] = field(default_factory=dict)
    _storages: dict[tuple[torch.device, int], Any] = field(default_factory=dict)

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """The copy of a tensor."""
        if id(tensor) not in self._copies:
            with torch.inference_mode(tensor.is_inference()), torch.enable_grad():
                plain = _is_plain(tensor)
                copied = self._strided(tensor) if plain else self._changed(tensor.detach().clone())
                if isinstance(tensor, torch.nn.Parameter):
                    copied = torch.nn.Parameter(copied, requires_grad=False)
            copied.requires_grad_(tensor.requires_grad)
            vars(copied).update(vars(tensor))  # torch._dynamo.mark_dynamic and its like
            self._copies[id(tensor)] = copied
        return self._copies[id(tensor)]

    def _strided(self, tensor: torch.Tensor) -> torch.Tensor:
        geometry = (tensor.size(), tensor.stride(), tensor.storage_offset())
        base = torch_compiled.base_of(tensor)
        if base is not None:  # a view is compiled in another way, and knows what it is one of
            plain = base.dtype is tensor.dtype and not base.requires_grad and _is_plain(base)
            copied = (self.copy(base) if plain else self._flat_copy(tensor)).as_strided(*geometry)
        else:
            flat, (size, stride, offset) = self._flat_copy(tensor), geometry
            empty = torch.empty(0, dtype=flat.dtype, device=flat.device)
            copied = empty.set_(flat.untyped_storage(), offset, size, stride)
        return copied.conj() if tensor.is_conj() else copied

    def _flat_copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of all memory that the tensor lies in, as one dimension."""
        storage = tensor.untyped_storage()
        place = (tensor.device, storage.data_ptr())
        key = (*place, tensor.dtype)
        if key not in self._flat:
            if place not in self._storages:
                self._storages[place] = storage.clone()
            flat = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            flat.set_(self._storages[place], 0, (storage.nbytes() // tensor.itemsize,), (1,))
            self._flat[key] = self._changed(flat)
        return self._flat[key]

    def _changed(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self.change is None else self.change(tensor)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether size, stride and offset say all about where its values lie."""
    known = type(tensor) in {torch.Tensor, torch.nn.Parameter}
    strided = tensor.layout is torch.strided and not tensor.is_quantized
    return known and strided and not (tensor.is_neg() or tensor.device.type == "meta")
