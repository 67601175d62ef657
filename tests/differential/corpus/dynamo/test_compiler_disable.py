import pytest
import torch
from torch._dynamo.exc import Unsupported
from torch._dynamo.testing import CompileCounter


@torch.compiler.disable
def kept_eager(x):
    return x.numpy().sum()


def calls_it(x):
    kept_eager(x)
    return x + 1


def test_breaks_there():
    counter = CompileCounter()
    torch.compile(calls_it, backend=counter)(torch.ones(3))
    assert counter.frame_count == 1


def test_is_refused_as_one_graph():
    with pytest.raises(Unsupported, match="kept_eager|disable"):
        torch.compile(calls_it, backend="eager", fullgraph=True)(torch.ones(3))


def test_disabled_function_is_not_compiled():
    counter = CompileCounter()
    assert torch.compile(kept_eager, backend=counter)(torch.ones(3)) == 3
    assert counter.frame_count in (0, 1)  # by torch's version


def test_is_compiling():
    said = []

    def ask(x):
        said.append(torch.compiler.is_compiling())
        return x + 1

    ask(torch.ones(3))
    torch.compile(lambda x: x + torch.compiler.is_compiling(), backend="eager")(torch.ones(3))
    assert said == [False]


def test_disable_argument_of_compile():
    def plain(x):
        return x + 1

    assert torch.compile(plain, disable=True) is plain


def test_compile_of_a_compiled_function():
    counter = CompileCounter()
    once = torch.compile(lambda x: x + 5, backend=counter)
    torch.compile(once, backend=counter)(torch.ones(3))
    assert counter.frame_count == 1
