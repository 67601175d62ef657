import torch
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode


class Names(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_ops_are_seen():
    counter = CompileCounter()
    compiled = torch.compile(lambda x: x + 1, backend=counter)
    with Names() as names:
        compiled(torch.ones(3))
    assert "aten.add.Tensor" in names.names
    assert counter.frame_count in (0, 1)


def test_fake_tensors():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        assert torch.ones(3).add(1).shape == (3,)


def test_flops():
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as flops:
        torch.ones(2, 3) @ torch.ones(3, 4)
    assert flops.get_total_flops() == 48
