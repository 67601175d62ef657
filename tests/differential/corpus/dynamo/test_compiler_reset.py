import torch
from torch._dynamo.testing import CompileCounter

counter = CompileCounter()


def add(x):
    return x + 41


def test_compiles():
    torch.compiler.reset()
    torch.compile(add, backend=counter)(torch.ones(3))
    assert counter.frame_count == 1


def test_is_compiled_still():
    torch.compile(add, backend=counter)(torch.ones(3))
    assert counter.frame_count == 1


def test_compiles_again_after_a_reset():
    torch.compiler.reset()
    torch.compile(add, backend=counter)(torch.ones(3))
    assert counter.frame_count == 2


def test_callbacks_of_a_user_are_called():
    from torch._dynamo.callback import callback_handler

    said = []
    start = lambda *_: said.append("start")
    end = lambda *_: said.append("end")
    callback_handler.register_start_callback(start)
    callback_handler.register_end_callback(end)
    try:
        torch.compile(lambda x: x + 43, backend="eager")(torch.ones(3))
    finally:
        callback_handler.remove_start_callback(start)
        callback_handler.remove_end_callback(end)
    assert said == ["start", "end"]
