import pytest
import torch


def branch(x):
    return torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))


def test_both_branches():
    compiled = torch.compile(branch, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(torch.ones(3)), torch.ones(3).sin())
    torch.testing.assert_close(compiled(-torch.ones(3)), torch.ones(3).cos())


def test_branches_of_other_shapes():
    def uneven(x):
        return torch.cond(x.sum() > 0, lambda x: x, lambda x: x.sum(), (x,))

    with pytest.raises(Exception) as caught:
        torch.compile(uneven, backend="eager", fullgraph=True)(torch.ones(3))
    assert "cond" in str(caught.value).lower() or "branch" in str(caught.value).lower()
