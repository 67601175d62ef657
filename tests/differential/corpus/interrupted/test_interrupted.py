def test_a():
    pass


def test_b():
    raise KeyboardInterrupt("by the suite")


def test_c():
    raise AssertionError
