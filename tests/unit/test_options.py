from __future__ import annotations

import subprocess
import sys

from pytest_compilecache.plugin.options import _COMPILING, _NAMES, _OPTIONS
from pytest_compilecache.report.files import _FORMS
from pytest_compilecache.settings import (
    COMPILED_WAYS,
    FALLBACK_MODES,
    REPORT_SUFFIXES,
    SAVE_POLICIES,
    setting_names,
)


def test_every_setting_has_an_option_though_the_options_do_not_load_the_settings():
    assert set(setting_names()) == set(_NAMES)
    assert _OPTIONS["save"]["metavar"] == "{" + ",".join(SAVE_POLICIES) + "}"
    assert set(REPORT_SUFFIXES) == set(_FORMS)
    assert _COMPILING["run"]["metavar"] == "{" + ",".join(COMPILED_WAYS) + "}"
    assert _COMPILING["fallback"]["metavar"] == "{" + ",".join(FALLBACK_MODES) + "}"


def test_loading_the_plugin_loads_nothing_that_a_suite_without_torch_does_not_need():
    code = (
        "import pytest, sys; before = set(sys.modules); import pytest_compilecache.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True)
    package = "pytest_compilecache"
    light = ("plugin", "plugin.options", "plugin.session", "plugin.fixtures")
    ours = ("guard", "import_hook", "patches")
    expected = {package, *(f"{package}.{name}" for name in (*light, *ours))}
    assert set(done.stdout.split()) == expected
