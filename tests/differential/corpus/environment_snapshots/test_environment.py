"""Tests that look at what a plugin may change: variables, finders, folders, threads."""

import json
import os
import subprocess
import sys
import threading
import warnings

import conftest
import pytest


def without_pytests_own(environ):
    return {name: value for name, value in environ.items() if name != "PYTEST_CURRENT_TEST"}


def test_variables_are_those_of_the_start():
    assert without_pytests_own(os.environ) == without_pytests_own(conftest.AT_START)


def test_child_has_the_same_variables():
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    theirs = json.loads(done.stdout)
    of_readline_and_python = ("COLUMNS", "LINES", "LC_CTYPE")
    mine = dict(os.environ)
    for name in of_readline_and_python:
        theirs.pop(name, None)
        mine.pop(name, None)
    assert theirs == mine


def test_cleared_environment():
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            patch.delenv(name)
        assert not os.environ


def test_finders_are_those_of_the_start():
    assert [type(finder) for finder in sys.meta_path] == conftest.FINDERS


def test_every_finder_finds():
    for finder in sys.meta_path:
        assert finder.find_spec("no_such_module_at_all", None) is None


def test_only_one_thread_runs():
    assert threading.active_count() == 1


def test_home_is_empty():
    assert os.listdir(os.path.expanduser("~")) == []


def test_resources_are_closed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        import gc

        gc.collect()
