import warnings

import pytest
import torch


def warns(x):
    warnings.warn("mind the gap", UserWarning, stacklevel=2)
    return x + 1


def test_warning_of_a_compiled_function():
    with pytest.warns(UserWarning, match="mind the gap"):
        torch.compile(warns, backend="eager")(torch.ones(3))


def test_warning_reaches_the_summary():
    torch.compile(warns, backend="eager")(torch.ones(4))


def test_compile_warns_of_nothing(recwarn):
    torch.compile(lambda x: x.erf(), backend="aot_eager")(torch.ones(3))
    assert [str(warning.message) for warning in recwarn.list] == []


def test_gradient_of_what_is_no_leaf(recwarn):
    x = torch.ones(3, requires_grad=True)
    torch.compile(lambda y: y * 2, backend="aot_eager")(x * 1)
    assert [
        str(warning.message) for warning in recwarn.list if "grad" in str(warning.message)
    ] == []


def test_no_warning_where_one_is_expected():
    with pytest.warns(DeprecationWarning):
        torch.compile(lambda x: x.erfc(), backend="aot_eager")(torch.ones(3))


@pytest.mark.filterwarnings("error")
def test_warning_is_an_error():
    torch.compile(warns, backend="eager")(torch.ones(5))
