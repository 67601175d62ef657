"""Sessions within a test; the first one is the first that imports torch."""

import os
import sys
import textwrap

import pytest

COMPILES = """
    import pytest
    import torch

    def refuses(graph, inputs):
        raise ValueError("refused")

    def test_compiles():
        assert torch.compile(lambda x: x + 1, backend="aot_eager")(torch.zeros(2)).tolist() == [1, 1]

    def test_fails():
        torch.compile(lambda x: x + 1, backend=refuses)(torch.zeros(2))

    @pytest.mark.xfail
    def test_fails_as_expected():
        torch.compile(lambda x: x + 1, backend=refuses)(torch.zeros(2))
"""


def variables():
    # Torch sets some of its own when it is imported, and where it compiles.
    ignored = (
        "PYTEST_CURRENT_TEST",
        "TORCH",
        "_TORCH",
        "TRITON",
        "KINETO",
        "CUDA",
        "COMPILECACHE_",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(ignored)}


def test_session_by_main(tmp_path):
    path = tmp_path / "test_by_main.py"
    path.write_text(textwrap.dedent(COMPILES))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    finders = [type(finder) for finder in sys.meta_path]
    before = variables()
    for _ in range(2):
        assert pytest.main([str(path), "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]) == 1
    assert variables() == before
    assert [type(finder) for finder in sys.meta_path] == finders


def test_session_in_process(pytester):
    pytester.makepyfile(COMPILES)
    before = variables()
    result = pytester.runpytest_inprocess("-p", "no:randomly")
    result.assert_outcomes(passed=1, failed=1, xfailed=1)
    assert variables() == before


def test_session_within_a_session(pytester):
    pytester.makepyfile(
        """
        import pytest
        pytest_plugins = ["pytester"]

        def test_inner(pytester):
            pytester.makepyfile("def test_innermost(): pass")
            pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=1)
        """
    )
    pytester.makeconftest("pytest_plugins = ['pytester']")
    pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=1)


def test_outer_session_compiles_still():
    import torch

    assert torch.compile(lambda x: x + 2, backend="aot_eager")(torch.zeros(2)).tolist() == [2, 2]


def test_outer_session_fails_still():
    import torch

    def refuses(graph, inputs):
        raise ValueError("refused")

    torch.compile(lambda x: x + 3, backend=refuses)(torch.zeros(2))
