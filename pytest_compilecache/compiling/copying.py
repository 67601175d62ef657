"""Copies arguments for one run: same strides, same aliasing, same marks on tensors.

A copy that were contiguous, or that shared no memory with its neighbour, would
hide the very errors that a comparison is to find.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_compilecache.compiling.structure import leaves_of
from pytest_compilecache.errors import NotComparableError
from pytest_compilecache.torchhooks import compiled as compiled_objects

WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call."""

    positional: tuple[Any, ...]
    named: dict[str, Any]

    def by_name(self) -> dict[str, Any]:
        """The arguments by what messages call them."""
        positional = {f"argument {index}": each for index, each in enumerate(self.positional)}
        return {**positional, **{f"argument {name!r}": each for name, each in self.named.items()}}

    def modules(self) -> dict[str, torch.nn.Module]:
        """The modules among the arguments: no copy is made of them, they are state."""
        return {
            leaf.path: leaf.value
            for name, each in self.by_name().items()
            for leaf in leaves_of(each, name)
            if isinstance(leaf.value, torch.nn.Module)
        }

    def copy(self, *, wide: bool = False) -> Arguments:
        """A copy that shares no memory with the original, its modules apart.

        Args:
            wide: Whether floating-point tensors become ``float64``.

        Raises:
            NotComparableError: An argument cannot be copied.
        """
        memo: dict[int, Any] = {}
        copier = TensorCopier(wide=wide)
        for name, each in self.by_name().items():
            for leaf in leaves_of(each, name):
                if isinstance(leaf.value, torch.Tensor):
                    memo[id(leaf.value)] = copier.copy(leaf.value)
                elif isinstance(leaf.value, torch.nn.Module):
                    memo[id(leaf.value)] = leaf.value
        try:
            positional, named = copy.deepcopy((self.positional, self.named), memo)
        except Exception as error:
            reason = f"cannot be copied, so that two runs would share them: {error}"
            remedy = "give tensors and plain values, and bind the rest to the function"
            raise NotComparableError("the arguments", reason, remedy) from error
        return Arguments(positional, named)


@dataclass(slots=True)
class TensorCopier:
    """Copies tensors, and every memory that they share once.

    Attributes:
        wide: Whether floating-point tensors become ``float64``.
    """

    wide: bool = False
    _copies: dict[int, torch.Tensor] = field(default_factory=dict)
    _flat: dict[tuple[torch.device, int, torch.dtype], torch.Tensor] = field(default_factory=dict)
    _storages: dict[tuple[torch.device, int], Any] = field(default_factory=dict)

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """The copy of a tensor."""
        if id(tensor) not in self._copies:
            with torch.inference_mode(tensor.is_inference()), torch.enable_grad():
                copied = self._strided(tensor) if _is_plain(tensor) else self._other(tensor)
                if isinstance(tensor, torch.nn.Parameter):
                    copied = torch.nn.Parameter(copied, requires_grad=False)
            copied.requires_grad_(tensor.requires_grad)
            vars(copied).update(vars(tensor))  # torch._dynamo.mark_dynamic and its like
            self._copies[id(tensor)] = copied
        return self._copies[id(tensor)]

    def _strided(self, tensor: torch.Tensor) -> torch.Tensor:
        geometry = (tensor.size(), tensor.stride(), tensor.storage_offset())
        base = compiled_objects.base_of(tensor)
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
            self._flat[key] = flat.to(WIDE.get(flat.dtype, flat.dtype)) if self.wide else flat
        return self._flat[key]

    def _other(self, tensor: torch.Tensor) -> torch.Tensor:
        copied = tensor.detach().clone()
        return copied.to(WIDE.get(copied.dtype, copied.dtype)) if self.wide else copied


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether size, stride and offset say all about where its values lie."""
    known = type(tensor) in {torch.Tensor, torch.nn.Parameter}
    strided = tensor.layout is torch.strided and not tensor.is_quantized
    return known and strided and not (tensor.is_neg() or tensor.device.type == "meta")
