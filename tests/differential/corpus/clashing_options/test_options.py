def test_option(pytestconfig):
    assert pytestconfig.getoption("compiled") is True
    assert pytestconfig.getoption("--compiled-fallback") == "mine"


def test_ini(pytestconfig):
    assert pytestconfig.getini("compiled") == "on a Sunday"
    assert pytestconfig.getini("fallback") == "of the suite"
