from unittest import mock

import pytest
import torch
from torch._dynamo import convert_frame, eval_frame, utils


def test_compile_of_a_frame_is_mocked():
    with mock.patch.object(convert_frame, "_compile", side_effect=RuntimeError("mocked")) as mocked:
        with pytest.raises(RuntimeError, match="mocked"):
            torch.compile(lambda x: x + 1, backend="eager")(torch.ones(3))
    assert mocked.call_count == 1


def test_limit_is_mocked():
    from torch._dynamo import cache_size

    name = "exceeds_recompile_limit"
    original = getattr(cache_size, name)
    with mock.patch.object(convert_frame, name, wraps=original) as mocked:
        torch.compile(lambda x: x + 2, backend="eager")(torch.ones(3))
    assert mocked.call_count == 1


def test_compile_is_spied_upon():
    with mock.patch.object(convert_frame, "_compile", wraps=convert_frame._compile) as spied:
        torch.compile(lambda x: x + 3, backend="eager")(torch.ones(3))
    assert spied.call_count == 1


def test_torch_compile_is_mocked():
    with mock.patch("torch.compile", return_value="compiled") as mocked:
        assert torch.compile(1) == "compiled"
    mocked.assert_called_once_with(1)


def test_metrics_are_mocked(monkeypatch):
    seen = []
    monkeypatch.setattr(
        utils, "record_compilation_metrics", lambda *args, **_: seen.append(args), raising=True
    )
    torch.compile(lambda x: x + 4, backend="eager")(torch.ones(3))


def test_names_are_back():
    assert convert_frame._compile.__name__ == "_compile"
    assert callable(eval_frame.set_eval_frame)
