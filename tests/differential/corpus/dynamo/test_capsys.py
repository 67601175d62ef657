import sys

import torch


def test_nothing_is_printed_by_a_compile(capsys):
    torch.compile(lambda x: x.neg() + 1, backend="aot_eager")(torch.ones(3))
    assert capsys.readouterr() == ("", "")


def test_print_in_a_compiled_function(capfd):
    def says(x):
        print("in the function")
        return x + 1

    torch.compile(says, backend="eager")(torch.ones(3))
    out, err = capfd.readouterr()
    assert out.count("in the function") == 1
    assert err == ""


def test_what_is_captured_is_shown():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    torch.compile(lambda x: x.neg() + 2, backend="eager")(torch.ones(3))
    raise AssertionError("fails to show it")
