import pytest
import torch
from torch._dynamo.testing import CompileCounter


def shift(x):
    return x + 10


@pytest.fixture
def counter():
    torch._dynamo.reset()
    return CompileCounter()


def test_force_eager(counter):
    compiled = torch.compile(shift, backend=counter)
    with torch.compiler.set_stance("force_eager"):
        assert compiled(torch.zeros(2)).tolist() == [10, 10]
    assert counter.frame_count == 0
    compiled(torch.zeros(2))
    assert counter.frame_count == 1


def test_fail_on_recompile(counter):
    compiled = torch.compile(shift, backend=counter, dynamic=False)
    compiled(torch.zeros(2))
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled(torch.zeros(2))
        with pytest.raises(RuntimeError, match="fail_on_recompile"):
            compiled(torch.zeros(3))


def test_fail_on_recompile_where_nothing_expects_it(counter):
    compiled = torch.compile(shift, backend=counter, dynamic=False)
    with torch.compiler.set_stance("fail_on_recompile"):
        compiled(torch.zeros(4))


def test_eager_on_recompile(counter):
    compiled = torch.compile(shift, backend=counter, dynamic=False)
    compiled(torch.zeros(2))
    with torch.compiler.set_stance("eager_on_recompile"):
        assert compiled(torch.zeros(3)).tolist() == [10, 10, 10]
    assert counter.frame_count == 1


@torch.compiler.set_stance("force_eager")
def eager_helper(compiled, x):
    return compiled(x)


def test_stance_as_a_decorator(counter):
    eager_helper(torch.compile(shift, backend=counter), torch.zeros(2))
    assert counter.frame_count == 0


def test_force_backend(counter):
    with torch.compiler.set_stance("default", force_backend=counter):
        torch.compile(shift)(torch.zeros(2))
    assert counter.frame_count == 1


def test_stance_is_the_default_again():
    from torch._dynamo import eval_frame

    assert eval_frame._stance.stance == "default"
