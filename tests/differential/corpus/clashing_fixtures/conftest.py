import pytest


@pytest.fixture
def model():
    return "our model"


@pytest.fixture
def compiled_model(model):
    return f"{model}, compiled"


@pytest.fixture
def compile_model():
    return str.upper


@pytest.fixture(scope="session")
def compile_stats():
    return {"files": 3}


@pytest.fixture(params=["a", "b"])
def compile_cache(request):
    return request.param
