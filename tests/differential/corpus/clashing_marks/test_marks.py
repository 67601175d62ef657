import pytest

pytestmark = pytest.mark.compiled("cython")


@pytest.mark.compiled("fortran", "c")
def test_of_a_function(request):
    assert [mark.args for mark in request.node.iter_markers("compiled")] == [
        ("fortran", "c"),
        ("cython",),
    ]


@pytest.mark.compiled(3, level=2)
class TestOfAClass:
    def test_method(self, request):
        assert request.node.get_closest_marker("compiled").kwargs == {"level": 2}


def test_of_the_module(request):
    assert request.node.get_closest_marker("compiled").args == ("cython",)
