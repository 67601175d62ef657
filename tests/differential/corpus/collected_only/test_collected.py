import torch

COMPILED = torch.compile(lambda x: x + 1)


def test_is_not_run():
    COMPILED(torch.ones(3))
