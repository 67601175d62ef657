import pytest


@pytest.fixture(scope="session", autouse=True)
def limited():
    import torch

    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=2, accumulated_recompile_limit=5):
        yield
