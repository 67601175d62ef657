def pytest_addoption(parser):
    parser.addoption("--compiled", action="store_true", help="ours")
    parser.addoption("--compiled-fallback", default="none", help="ours")
    parser.addoption("--fallback", default="none", help="ours")
    parser.addoption("--store", default="none", help="ours")
    parser.addini("compiled", "ours", default="of the suite")
    parser.addini("fallback", "ours", default="of the suite")
