import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit


def triple(x):
    return x * 3


def test_limit_is_an_error_where_asked():
    compiled = torch.compile(triple, backend="eager", dynamic=False)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=2):
        compiled(torch.ones(2))
        compiled(torch.ones(3))
        with pytest.raises(FailOnRecompileLimitHit):
            compiled(torch.ones(4))


def test_limit_that_an_earlier_test_used_up_is_an_error_where_asked():
    compiled = torch.compile(triple, backend="eager", dynamic=False)
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True, recompile_limit=2):
        compiled(torch.ones(8))


def test_limit_under_fullgraph():
    compiled = torch.compile(lambda x: x * 5, backend="eager", dynamic=False, fullgraph=True)
    with torch._dynamo.config.patch(recompile_limit=1):
        compiled(torch.ones(2))
        with pytest.raises(FailOnRecompileLimitHit):
            compiled(torch.ones(4))
