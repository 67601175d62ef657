"""Compiles the repeated blocks of a model, so that one compilation serves all of them.

It never changes the model: blocks are compiled in a copy of its modules that shares
its parameters, buffers and hooks.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

from pytest_compilecache.errors import CompileOptionWarning


def compile_regions(model: Any, compile_one: Callable[[Any], Any]) -> Any:
    """Compile each repeated block of a model; the rest of it runs eager.

    The outermost blocks that repeat are compiled: modules of one class in a
    ``ModuleList``, ``ModuleDict`` or ``Sequential``, of which two at least have
    parameters of equal shapes.

    Args:
        model: A module.
        compile_one: Compiles a function, as ``torch.compile`` does.

    Returns:
        A module of the model's class. It shares parameters, buffers and hooks with
        the model, and has the same names in its ``state_dict``; hooks on a block
        run eager. ``train()`` and ``eval()`` hold for the one that they are called
        on. Modules that the model keeps elsewhere than among its submodules (in a
        plain list) stay the model's own, and run eager. Where nothing repeats,
        the whole model, compiled.
    """
    if not repeated_blocks(model):
        text = "regional: the model has no repeated blocks, so all of it is compiled at once"
        warnings.warn(f"{text} (leave the option out)", CompileOptionWarning, stacklevel=2)
        return compile_one(model)
    regional = sharing_copy(model)
    for block in repeated_blocks(regional):
        vars(block)["forward"] = CompiledForward(block, _own_forward(block), compile_one)
    return regional


def repeated_blocks(model: Any) -> list[Any]:
    """The outermost modules that repeat, each once."""
    found: dict[int, Any] = {}
    _collect(model, found, set())
    return list(found.values())


def sharing_copy(module: Any, memo: dict[int, Any] | None = None) -> Any:
    """A copy of a module and its submodules that shares their parameters, buffers and hooks."""
    import torch  # noqa: PLC0415

    memo = {} if memo is None else memo
    if id(module) in memo:  # used twice there, so used twice here
        return memo[id(module)]
    if isinstance(module, torch.jit.ScriptModule):
        return module  # its methods are not Python's
    kind: Any = type(module)
    twin = memo[id(module)] = kind.__new__(kind)
    vars(twin).update(vars(module))
    for name, value in vars(module).items():
        if isinstance(value, MethodType) and value.__self__ is module:
            vars(twin)[name] = MethodType(value.__func__, twin)  # or it would run the original
    vars(twin)["_modules"] = {
        name: None if child is None else sharing_copy(child, memo)
        for name, child in module._modules.items()  # noqa: SLF001  (children() leaves out repeats)
    }
    return twin


class CompiledForward:
    """The compiled forward of a block.

    Args:
        block: The block.
        forward: Its own forward, bound to it.
        compile_one: Compiles a function.
    """

    def __init__(
        self, block: Any, forward: Callable[..., Any], compile_one: Callable[[Any], Any]
    ) -> None:
        self._block = block
        self._forward = forward
        self._compile_one = compile_one
        self._compiled = compile_one(forward)
        self.__wrapped__ = forward  # its signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        return self._compiled(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledForward:
        # A copied function stays bound to the block that it was compiled for.
        block = memo.get(id(self._block))
        if block is None or getattr(self._forward, "__self__", None) is not self._block:
            return self
        forward = MethodType(self._forward.__func__, block)  # type: ignore[attr-defined]
        return CompiledForward(block, forward, self._compile_one)


def _own_forward(block: Any) -> Callable[..., Any]:
    kind: Any = type(block)
    if _is_torchs(block) and "forward" not in vars(block):
        return MethodType(_traceable_forward(kind), block)
    forward: Callable[..., Any] = block.forward
    return forward


@functools.cache
def _traceable_forward(kind: Any) -> FunctionType:
    """The forward of a layer of torch's own, as a function that Dynamo starts at.

    It starts in no file of torch's but wraps such a method, and compiles that again
    for every object (torch 2.7): past eight layers, none is compiled.
    """

    def forward(block: Any, *args: Any, **kwargs: Any) -> Any:
        return kind.forward(block, *args, **kwargs)

    # Code of its own: recompiles are counted, and limited, for each code object.
    code = forward.__code__.replace(co_name=f"forward_of_{kind.__name__}")
    return FunctionType(code, globals(), code.co_name, None, forward.__closure__)


def _collect(module: Any, found: dict[int, Any], seen: set[int]) -> None:
    if id(module) in seen:
        return
    seen.add(id(module))
    blocks = {id(block) for block in _repeated_children(module)}
    for child in module.children():
        if id(child) in blocks:
            found[id(child)] = child
        else:
            _collect(child, found, seen)


def _repeated_children(module: Any) -> Iterator[Any]:
    from torch import nn  # noqa: PLC0415

    if not isinstance(module, (nn.ModuleList, nn.ModuleDict, nn.Sequential)):
        return
    kinds: defaultdict[type, list[Any]] = defaultdict(list)
    for child in module._modules.values():  # noqa: SLF001  (children() leaves out repeats)
        if child is not None and not _is_single_layer(child):
            kinds[type(child)].append(child)
    for blocks in kinds.values():
        # Stages of growing width are of one class as well, but share no compiled code.
        if max(Counter(_shapes(block) for block in blocks).values()) > 1:
            yield from blocks


def _is_single_layer(module: Any) -> bool:
    """Whether it is one of torch's layers, alone: one kernel gains nothing by itself."""
    return _is_torchs(module) and not any(module.children())


def _is_torchs(module: Any) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _shapes(block: Any) -> tuple[Any, ...]:
    inner = ((name, type(module)) for name, module in block.named_modules())
    tensors = (*block.named_parameters(), *block.named_buffers())
    return (*inner, *((name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors))
