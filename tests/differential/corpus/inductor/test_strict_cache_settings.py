"""Settings that make an error of what cannot be cached."""

import pytest
import torch


def branch(x):
    return torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))


def test_bypass_is_an_error_where_asked():
    with (
        torch._functorch.config.patch(strict_autograd_cache=True),
        pytest.raises(Exception, match="BypassAOTAutogradCache"),
    ):
        torch.compile(branch)(torch.ones(4))


def test_bypass_is_an_error_that_is_not_expected():
    with torch._functorch.config.patch(strict_autograd_cache=True):
        torch.compile(lambda x: branch(x) + 1)(torch.ones(4))


def test_what_can_be_cached_is_no_error():
    with torch._functorch.config.patch(strict_autograd_cache=True):
        torch.compile(lambda x: x.sin() + 1)(torch.ones(4))


def test_bypass_is_none_without():
    torch.testing.assert_close(torch.compile(branch)(torch.ones(4)), torch.ones(4).sin())
