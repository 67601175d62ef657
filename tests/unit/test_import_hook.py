from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_compilecache.import_hook import ImportHook


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImportHook]:
    (tmp_path / "watched_module.py").write_text("VALUE = 1\n")
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    hook = ImportHook()
    yield hook
    hook.remove()
    for name in ("watched_module", "broken_module"):
        sys.modules.pop(name, None)


def test_callbacks_run_just_before_and_just_after_the_module(hook: ImportHook):
    seen: list[object] = []
    hook.before(
        "watched_module", lambda: seen.append(hasattr(sys.modules["watched_module"], "VALUE"))
    )
    hook.after(
        "watched_module", lambda: seen.append(hasattr(sys.modules["watched_module"], "VALUE"))
    )
    assert importlib.import_module("watched_module").VALUE == 1
    assert seen == [False, True]


def test_looking_for_a_module_is_no_import(hook: ImportHook):
    seen: list[str] = []
    hook.before("watched_module", lambda: seen.append("before"))
    spec = importlib.util.find_spec("watched_module")
    assert spec is not None
    assert spec.loader is not None
    assert "VALUE" in spec.loader.get_source("watched_module")  # type: ignore[attr-defined]
    assert seen == []
    importlib.import_module("watched_module")
    assert seen == ["before"]


def test_imported_module_keeps_its_own_loader(hook: ImportHook):
    hook.before("watched_module", lambda: None)
    module = importlib.import_module("watched_module")
    loader = module.__spec__.loader if module.__spec__ else None
    assert type(loader).__name__ == "SourceFileLoader"
    assert module.__loader__ is loader
    importlib.reload(module)


def test_module_that_is_there_already_is_announced_at_once(hook: ImportHook):
    importlib.import_module("watched_module")
    seen: list[str] = []
    hook.before("watched_module", lambda: seen.append("before"))
    hook.after("watched_module", lambda: seen.append("after"))
    assert seen == ["before", "after"]
    assert hook not in sys.meta_path


def test_module_that_fails_raises_its_own_error_and_is_not_announced_after(hook: ImportHook):
    seen: list[str] = []
    hook.after("broken_module", lambda: seen.append("after"))
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("broken_module")
    assert seen == []


def test_missing_module_stays_missing(hook: ImportHook):
    hook.before("module_of_nobody", lambda: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("module_of_nobody")


def test_two_hooks_are_both_told_and_do_not_ask_each_other_for_ever(hook: ImportHook):
    inner, seen = ImportHook(), []
    hook.before("watched_module", lambda: seen.append("outer"))
    inner.before("watched_module", lambda: seen.append("inner"))
    try:
        importlib.import_module("watched_module")
    finally:
        inner.remove()
    assert sorted(seen) == ["inner", "outer"]


def test_removed_hook_leaves_no_finder(hook: ImportHook):
    hook.before("watched_module", lambda: pytest.fail("called after removal"))
    hook.remove()
    assert hook not in sys.meta_path
    importlib.import_module("watched_module")


def test_end_of_an_import_is_heard_where_it_is_asked_for_at_its_beginning(
    hook: ImportHook,
):
    late, seen = ImportHook(), []

    def ask() -> None:
        late.after("watched_module", lambda: seen.append(sys.modules["watched_module"].VALUE))
        assert seen == []

    hook.before("watched_module", ask)
    importlib.import_module("watched_module")
    late.remove()
    assert seen == [1]
