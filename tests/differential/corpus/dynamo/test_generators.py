import torch
from torch._dynamo.testing import CompileCounter


def thirds(x):
    for number in range(3):
        yield x + number


def test_generator_runs_eager():
    counter = CompileCounter()
    parts = list(torch.compile(thirds, backend=counter)(torch.zeros(2)))
    assert [part.sum().item() for part in parts] == [0, 2, 4]
    assert counter.frame_count in (0, 1, 2, 3)


def test_generator_within_a_function():
    counter = CompileCounter()
    compiled = torch.compile(lambda x: sum(thirds(x)), backend=counter)
    assert compiled(torch.zeros(2)).tolist() == [3, 3]
    assert counter.frame_count == 1
