"""Backends that compute something else than they were given, each in one way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from torch._functorch.aot_autograd import aot_module_simplified

from pytest_compilecache import assert_matches_eager
from pytest_compilecache.errors import DisagreementError

Backend = Callable[..., Any]


def changing_output(change: Callable[[Any], Any]) -> Backend:
    """A backend whose graphs give changed tensors."""

    def backend(graph, inputs):
        def run(*values):
            outputs = graph.forward(*values)
            return tuple(change(one) if isinstance(one, torch.Tensor) else one for one in outputs)

        return run

    return backend


def changing_gradients(change: Callable[[Any], Any]) -> Backend:
    """A backend whose forward is right and whose backward is not."""

    def forward(graph, inputs):
        return make_boxed_func(graph.forward)

    def backward(graph, inputs):
        return make_boxed_func(
            lambda *values: [
                change(one) if isinstance(one, torch.Tensor) else one
                for one in graph.forward(*values)
            ]
        )

    def backend(graph, inputs):
        return aot_module_simplified(graph, inputs, fw_compiler=forward, bw_compiler=backward)

    return backend


def by(backend: str | Backend, **keywords: Any) -> Callable[[Any], Any]:
    return functools.partial(torch.compile, backend=backend, **keywords)


agrees = functools.partial(assert_matches_eager, compile=by("aot_eager"))


def disagreement(model: Any, *args: Any, backend: Backend, **kwargs: Any) -> DisagreementError:
    with pytest.raises(DisagreementError) as raised:
        assert_matches_eager(model, *args, compile=by(backend), **kwargs)
    return raised.value
