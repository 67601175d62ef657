import pytest
import torch
from torch._dynamo.testing import CompileCounter


def cube(x):
    return x * x * x


class TestLimitOfAClass:
    @pytest.fixture(scope="class", autouse=True)
    def limited(self):
        with torch._dynamo.config.patch(recompile_limit=2):
            yield

    @pytest.mark.parametrize("start", [2, 12, 22])
    def test_limit_is_two_for_all_tests_together(self, start):
        counter = CompileCounter()
        compiled = torch.compile(cube, backend="eager", dynamic=False)
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        for size in range(start, start + 4):
            compiled(torch.ones(size))
        after = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        assert after - before == (2 if start == 2 else 0)
        assert counter.frame_count == 0

    def test_value_is_two(self):
        assert torch._dynamo.config.recompile_limit == 2


def test_value_is_eight_afterwards():
    assert torch._dynamo.config.recompile_limit == 8
