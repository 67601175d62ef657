"""Prepares what is to be compiled, and the calls of what was, as the options say.

It never changes values. Of a model that is given to it, only the layout of its
parameters in memory changes, and only where ``channels_last`` asks for it.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import MethodType
from typing import Any

from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.compiling.regions import compile_regions, sharing_copy
from pytest_compilecache.errors import CompileOptionError, CompileOptionWarning

_IPEX = "intel_extension_for_pytorch"


def compile_prepared(
    target: Any, options: CompileOptions, compile_one: Callable[[Any], Any]
) -> Any:
    """Prepare a target, compile it or its regions, and run its calls as the options say.

    Args:
        target: A module or a function.
        options: How to compile it.
        compile_one: Compiles a module or a function, as ``torch.compile`` does.

    Returns:
        What to call: a module for a module. It shares its parameters with the
        target, except after ``ipex.optimize``, which makes its own.

    Raises:
        CompileOptionError: An option does not suit the target.
    """
    prepared, compiles = prepare(target, options)
    if not compiles:
        compiled = prepared
    elif options.regional:
        compiled = compile_regions(prepared, compile_one)
    else:
        compiled = compile_one(prepared)
    return run_calls_under(compiled, options, own=compiled is not target)


def prepare(target: Any, options: CompileOptions) -> tuple[Any, bool]:
    """What is to be called or compiled, and whether it is to be compiled.

    ``channels_last`` changes the layout of the model's own parameters and buffers,
    as ``model.to(memory_format=…)`` does: copies would train apart from what an
    optimizer holds. Their values, and the eager results but for rounding, stay.

    Raises:
        CompileOptionError: An option does not suit the target.
    """
    _check_suits(target, options)
    if options.channels_last and _has_convolutions(target):
        _lay_channels_last(target)
    elif options.channels_last:
        _warn("channels_last", "the model has no 2-d or 3-d convolution", "leave it out")
    optimize = _ipex_optimize() if options.ipex else None
    if optimize is None:
        return target, options.enabled
    return _optimized_with_ipex(target, optimize), False


def calls_under(options: CompileOptions) -> Callable[[], AbstractContextManager[Any]]:
    """What makes the context in which each call of what was compiled runs.

    Torch compiles at the first call, so the attention kernels must be chosen then.
    Neither Dynamo nor the keys of torch's caches know of that choice: without a
    tag of its own, a graph compiled for other kernels would be a hit on disk.
    Within a process, backends of different choices must not be equal.
    """
    if options.sdpa is None:
        return nullcontext
    import torch  # noqa: PLC0415
    from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: PLC0415

    known = {
        "math": SDPBackend.MATH,
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
    }
    kernels = [known[name] for name in options.sdpa]
    tag = f"+sdpa={','.join(options.sdpa)}"
    config: Any = torch.compiler.config

    def under() -> AbstractContextManager[Any]:
        stack = ExitStack()
        stack.enter_context(sdpa_kernel(kernels))
        stack.enter_context(config.patch(cache_key_tag=config.cache_key_tag + tag))
        return stack

    return under


def run_calls_under(compiled: Any, options: CompileOptions, *, own: bool) -> Any:
    """Let every call convert its inputs and run in the context that the options ask for.

    Args:
        compiled: A module or a function.
        options: How it was compiled.
        own: Whether a module was made here, so that its ``forward`` may be set.
    """
    if options.sdpa is None and not options.channels_last:
        return compiled
    import torch  # noqa: PLC0415

    if not isinstance(compiled, torch.nn.Module):
        return _wrapped(compiled, options)
    module = compiled if own else sharing_copy(compiled)
    forward = module.forward
    bound = isinstance(forward, MethodType)
    module.forward = _ForwardUnder(forward, options) if bound else _wrapped(forward, options)
    return module


def _wrapped(call: Callable[..., Any], options: CompileOptions) -> Callable[..., Any]:
    under = calls_under(options)
    convert = _channels_last if options.channels_last else _as_it_is

    @functools.wraps(call, updated=())  # torch.compile would follow Dynamo's marks to the original
    def call_under(*args: Any, **kwargs: Any) -> Any:
        with under():
            return call(
                *(convert(value) for value in args),
                **{name: convert(value) for name, value in kwargs.items()},
            )

    return call_under


class _ForwardUnder:
    """The forward of a module, called as options say. A copy of the module has one of its own."""

    def __init__(self, forward: MethodType, options: CompileOptions) -> None:
        self._forward = forward
        self._options = options
        self._call = _wrapped(forward, options)
        self.__wrapped__ = forward  # its signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _ForwardUnder:
        owner = memo.get(id(self._forward.__self__), self._forward.__self__)
        return _ForwardUnder(MethodType(self._forward.__func__, owner), self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        return _ForwardUnder, (self._forward, self._options)


def _check_suits(target: Any, options: CompileOptions) -> None:
    import torch  # noqa: PLC0415

    if isinstance(target, torch.nn.Module):
        return
    for name in ("regional", "channels_last", "ipex"):
        if getattr(options, name):
            reason = f"{getattr(target, '__qualname__', target)!s} is no torch.nn.Module"
            raise CompileOptionError(name, reason, "give a model, or leave the option out")


def _has_convolutions(model: Any) -> bool:
    from torch import nn  # noqa: PLC0415

    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return any(isinstance(module, kinds) for module in model.modules())


def _lay_channels_last(model: Any) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        # The same object as before: optimizers and the eager model hold it.
        tensor.data = _channels_last(tensor.data)


def _channels_last(value: Any) -> Any:
    import torch  # noqa: PLC0415

    if not isinstance(value, torch.Tensor) or value.dim() not in (4, 5):
        return value
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return value.contiguous(memory_format=formats[value.dim()])


def _as_it_is(value: Any) -> Any:
    return value


def _ipex_optimize() -> Callable[..., Any] | None:
    try:
        import intel_extension_for_pytorch  # type: ignore[import-not-found]  # noqa: PLC0415
    except Exception as error:  # noqa: BLE001  (beside another torch it fails by an AttributeError)
        reason = f"{_IPEX} cannot be imported ({type(error).__name__}: {error})"
        _warn("ipex", reason, "install intel-extension-for-pytorch of torch's own version")
        return None
    optimize: Callable[..., Any] = intel_extension_for_pytorch.optimize
    return optimize


def _optimized_with_ipex(model: Any, optimize: Callable[..., Any]) -> Any:
    if model.training:
        reason = "ipex.optimize takes a model for inference, and this one is in training mode"
        raise CompileOptionError("ipex", reason, "call model.eval() before")
    own = copy.deepcopy(model)  # it folds and packs weights, of which the eager model needs its own
    if _has_convolutions(own):
        _lay_channels_last(own)
    return optimize(own, inplace=True)


def _warn(subject: str, reason: str, remedy: str) -> None:
    warnings.warn(f"{subject}: {reason} ({remedy})", CompileOptionWarning, stacklevel=3)
