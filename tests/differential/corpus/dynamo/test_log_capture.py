import io
import logging

import torch


def grow(x):
    return x + 1


def test_recompiles_are_logged(caplog):
    torch._dynamo.reset()
    torch._logging.set_logs(recompiles=True)
    try:
        compiled = torch.compile(grow, backend="eager", dynamic=False)
        compiled(torch.ones(2))
        compiled(torch.ones(3))
    finally:
        torch._logging.set_logs()
    assert "Recompiling function grow" in caplog.text


def test_limit_is_logged_once(caplog):
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=1):
        compiled = torch.compile(grow, backend="eager", dynamic=False)
        for size in (2, 3, 4):
            compiled(torch.ones(size))
    said = [record for record in caplog.records if "recompile_limit" in record.getMessage()]
    assert len(said) == 1
    assert said[0].levelname == "WARNING"


def test_graph_breaks_are_logged(caplog):
    def breaks(x):
        torch._dynamo.graph_break()
        return x + 1

    torch._logging.set_logs(graph_breaks=True)
    try:
        torch.compile(breaks, backend="eager")(torch.ones(3))
    finally:
        torch._logging.set_logs()
    assert "Graph break" in caplog.text


def test_own_handler_hears_torch():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("torch._dynamo.convert_frame")
    logger.addHandler(handler)
    try:
        torch._dynamo.reset()
        with torch._dynamo.config.patch(recompile_limit=1):
            compiled = torch.compile(grow, backend="eager", dynamic=False)
            for size in (5, 6):
                compiled(torch.ones(size))
    finally:
        logger.removeHandler(handler)
    assert "hit config.recompile_limit (1)" in stream.getvalue()


def test_nothing_is_logged_by_a_compile(caplog):
    torch.compile(lambda x: x.sqrt(), backend="aot_eager")(torch.ones(3))
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_failure_shows_the_log():
    logging.getLogger("suite").warning("said before it failed")
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=1):
        compiled = torch.compile(grow, backend="eager", dynamic=False)
        for size in (5, 6):
            compiled(torch.ones(size))
    raise AssertionError("fails to show it")
