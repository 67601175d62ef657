from __future__ import annotations

from tests.e2e.conftest import compiler_remembers

__all__ = ["compiler_remembers"]

# Suites of users, some of which fail: they are run by the tests here, and are none.
collect_ignore = ["corpus"]
