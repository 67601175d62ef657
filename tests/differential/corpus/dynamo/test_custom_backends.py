import pytest
import torch
from torch._dynamo import register_backend
from torch._dynamo.backends.common import aot_autograd

calls = []


def of_a_function(graph, inputs):
    calls.append(("function", len(inputs)))
    return graph.forward


class OfAClass:
    def __init__(self):
        self.graphs = []

    def __call__(self, graph, inputs):
        self.graphs.append(graph)
        return graph


@register_backend
def differential_backend(graph, inputs, **options):
    calls.append(("registered", sorted(options)))
    return graph


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    calls.clear()


def test_function():
    torch.compile(lambda x: x + 1, backend=of_a_function)(torch.ones(3))
    assert calls == [("function", 1)]


def test_class():
    backend = OfAClass()
    torch.compile(lambda x: x + 1, backend=backend)(torch.ones(3))
    assert len(backend.graphs) == 1
    assert "add" in backend.graphs[0].code


def test_registered_with_options():
    torch.compile(lambda x: x + 1, backend="differential_backend", options={"a": 1})(torch.ones(3))
    assert len(calls) == 1
    assert "differential_backend" in torch._dynamo.list_backends()


def test_aot():
    def compiler(graph, inputs):
        calls.append(("aot", len(inputs)))
        return graph.forward

    x = torch.ones(3, requires_grad=True)
    torch.compile(lambda x: x * 2, backend=aot_autograd(fw_compiler=compiler))(x).sum().backward()
    assert calls == [("aot", 1), ("aot", 1)]


def test_inner_compiler_of_inductor_is_torchs():
    from torch._inductor import compile_fx

    assert compile_fx.compile_fx.__module__ == "torch._inductor.compile_fx"
    assert compile_fx.compile_fx_inner.__module__ == "torch._inductor.compile_fx"
