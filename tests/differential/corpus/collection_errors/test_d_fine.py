def test_is_fine():
    pass
