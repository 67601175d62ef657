"""What a model or function keeps between calls: found, saved, and given back.

It is never copied to another model. Compiled and eager code share it, and every run starts
from what was saved, in the same objects.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import operator
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from pytest_compilecache.agreement.values import Change
from pytest_compilecache.errors import NotComparableError
from pytest_compilecache.torchhooks import compiled as torch_compiled

_REGISTRIES = {"_parameters": "parameter", "_buffers": "buffer"}
_CONTAINERS = (dict, list, set, deque)


@dataclass(frozen=True, slots=True)
class SavedTensor:
    """A tensor of the state, what it held, and its gradient."""

    kind: str
    name: str
    tensor: torch.Tensor
    value: torch.Tensor
    gradient: torch.Tensor | None

    def restore(self) -> None:
        """Give the tensor its value and its gradient back."""
        if not _identical(self.tensor, self.value):
            # Only then: writing spoils graphs of the test's own that hold the tensor.
            with torch.inference_mode(self.tensor.is_inference()), torch.no_grad():
                self.tensor.copy_(self.value)
        if self.tensor.is_leaf:
            self.tensor.grad = self.gradient


@dataclass(slots=True)
class SavedState:
    """The state at one moment."""

    # By identity, so that a shared one is saved once.
    tensors: dict[int, SavedTensor] = field(default_factory=dict)
    # All that two runs must leave alike, by its name.
    values: dict[str, Any] = field(default_factory=dict)
    _containers: list[tuple[Any, Any]] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def restore(self) -> None:
        """Give everything back, in the objects that had it."""
        for container, content in self._containers:
            _refill(container, content)
        for saved in self.tensors.values():
            saved.restore()

    @contextlib.contextmanager
    def changed(self, change: Change | None) -> Iterator[None]:
        """Let the tensors hold changed values, in the objects that closures know as well.

        Args:
            change: What tensors become, perhaps of another type.
        """
        kept: list[tuple[SavedTensor, torch.Tensor]] = []
        try:
            for saved in self.tensors.values():
                value = saved.value if change is None else change(saved.value)
                if value is not saved.value:
                    kept.append((saved, saved.tensor.data))
                    saved.tensor.grad = None  # of the type that it had
                    saved.tensor.data = value
            yield
        finally:
            for saved, data in kept:
                saved.tensor.grad = None
                saved.tensor.data = data
                saved.tensor.grad = saved.gradient

    def parameters(self) -> dict[str, torch.Tensor]:
        """The leaves that a gradient can be asked for, by their names."""
        leaves = (saved for saved in self.tensors.values() if saved.tensor.is_leaf)
        return {saved.name: saved.tensor for saved in leaves if saved.tensor.requires_grad}

    def visit(self, value: Any, kind: str, name: str) -> None:
        """Save a value and all that it holds, objects that are neither module nor tensor apart."""
        if isinstance(value, (bool, int, float, str)):
            self.values[f"{kind} {name}"] = value
        elif id(value) in self._seen:
            return
        elif isinstance(value, torch.Tensor):
            self._visit_tensor(value, kind, name)
        elif isinstance(value, torch.nn.Module):
            self._visit_module(value, name)
        elif isinstance(value, (*_CONTAINERS, tuple)):
            self._visit_container(value, kind, name)

    def _visit_tensor(self, tensor: torch.Tensor, kind: str, name: str) -> None:
        if is_lazy(tensor):
            reason = "it has no shape before the first call"
            raise NotComparableError(f"{kind} {name}", reason, "call the model once before")
        self._seen.add(id(tensor))
        gradient = tensor.grad if tensor.is_leaf else None
        value = tensor.detach().clone()
        self.tensors[id(tensor)] = SavedTensor(kind, name, tensor, value, gradient)
        self.values[f"{kind} {name}"] = value
        if gradient is not None:
            self.visit(gradient, "gradient kept in", name)

    def _visit_module(self, module: torch.nn.Module, name: str) -> None:
        self._keep(vars(module))
        dot = f"{name}." if name else ""
        for attribute, value in list(vars(module).items()):
            if attribute == "_modules":
                self._keep(value)
                for child, submodule in value.items():
                    wrapped = child == torch_compiled.WRAPPED
                    self.visit(submodule, "", name if wrapped else dot + child)
            elif attribute in _REGISTRIES:
                self._keep(value)
                for tensor_name, tensor in value.items():
                    self.visit(tensor, _REGISTRIES[attribute], dot + tensor_name)
            elif isinstance(value, (torch.Tensor, *_CONTAINERS)) or not attribute.startswith("_"):
                self.visit(value, "attribute", dot + attribute)

    def _visit_container(self, container: Any, kind: str, name: str) -> None:
        if isinstance(container, _CONTAINERS):
            self._keep(container)
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in list(items):
            self.visit(value, kind, f"{name}[{key!r}]")

    def _keep(self, container: Any) -> None:
        self._seen.add(id(container))
        # Not copy.copy: a subclass may copy more than its content, or refuse.
        is_dict = isinstance(container, dict)
        self._containers.append((container, dict(container) if is_dict else list(container)))


def save_state(roots: Mapping[str, Any]) -> SavedState:
    """Save all that modules, tensors and containers hold.

    Args:
        roots: The objects by their names; a model itself has an empty one.

    Raises:
        NotComparableError: A lazy module was never called.
    """
    saved = SavedState()
    for name, value in roots.items():
        saved.visit(value, "tensor" if isinstance(value, torch.Tensor) else "attribute", name)
    return saved


def roots_of(target: Any) -> dict[str, Any]:
    """Where the state of a model or function is found.

    Of a function these are the modules, tensors and containers that it is bound
    to, or that its closure and its globals name; not what other functions name.
    """
    if isinstance(target, torch.nn.Module):
        return {"": target}
    if isinstance(target, functools.partial):
        bound = {f"argument {index}": each for index, each in enumerate(target.args)}
        return _stateful({**roots_of(target.func), **bound, **target.keywords})
    owner = getattr(target, "__self__", None)
    roots = {"": owner} if isinstance(owner, torch.nn.Module) else {}
    function = inspect.unwrap(getattr(target, "__func__", target))
    if inspect.isfunction(function):
        named = inspect.getclosurevars(function)
        roots |= {**named.globals, **named.nonlocals}
    return _stateful(roots)


def _identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors hold the same values, NaN being the same as NaN."""
    if one.layout is not torch.strided or one.is_quantized:
        return False
    if torch.equal(one, other):
        return True
    if one.shape != other.shape:
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _stateful(roots: Mapping[str, Any]) -> dict[str, Any]:
    kinds = (torch.nn.Module, torch.Tensor, *_CONTAINERS)
    return {name: value for name, value in roots.items() if isinstance(value, kinds)}


def _refill(container: Any, content: Any) -> None:
    now, then = _parts(container), _parts(content)
    if len(now) == len(then) and all(map(operator.is_, now, then)):
        return
    container.clear()
    container.extend(content) if isinstance(container, (list, deque)) else container.update(content)


def _parts(container: Any) -> list[Any]:
    is_dict = isinstance(container, dict)
    return [*container.keys(), *container.values()] if is_dict else list(container)
