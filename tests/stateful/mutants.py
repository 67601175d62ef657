"""Ways in which the store could be wrong: each takes one of its precautions away."""

from __future__ import annotations

import contextlib
import inspect
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_compilecache.cache import restoring, saving
from pytest_compilecache.cache.restoring import FileWriter
from pytest_compilecache.limits import Limits
from pytest_compilecache.pack import PackReader, reading
from pytest_compilecache.store import catalog, prune, publishing, staging
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.turns import Turns

Mutant = Callable[[pytest.MonkeyPatch], None]


class Agreeable(str):
    """A text that no comparison finds to differ."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


class _Os:
    """The module os with some functions of its own."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def no_sync_of_content(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(publishing, "os", _Os(fsync=_sync_only(stat.S_ISDIR)))


def no_sync_of_folders(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(publishing, "os", _Os(fsync=_sync_only(stat.S_ISREG)))


def _sync_only(wanted: Callable[[int], bool]) -> Callable[[int], None]:
    def fsync(descriptor: int) -> None:
        if wanted(os.fstat(descriptor).st_mode):
            os.fsync(descriptor)

    return fsync


def written_in_place(patch: pytest.MonkeyPatch) -> None:
    def create(temporary: Path, target: Path) -> bool:
        if target.exists():
            return False
        _write_in_place(target, temporary.read_bytes())
        return True

    patch.setattr(publishing, "create", create)


def restored_in_place(patch: pytest.MonkeyPatch) -> None:
    def write(_: FileWriter, target: str, mode: int, age: int, chunks: Iterable[bytes]) -> None:
        path = Path(target)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_in_place(path, b"".join(chunks))
        path.chmod(mode)
        os.utime(path, ns=(age, age))

    patch.setattr(FileWriter, "write", write)


def _write_in_place(target: Path, content: bytes) -> None:
    with target.open("wb") as file:
        file.write(content)


def frames_are_believed(patch: pytest.MonkeyPatch) -> None:
    def parse(text: bytes) -> Any:
        index = parse_index(text)
        frames = (replace(frame, digest=Agreeable(frame.digest)) for frame in index.frames)
        return replace(index, frames=tuple(frames))

    parse_index = reading.parse_index
    patch.setattr(reading, "parse_index", parse)


def names_are_believed(patch: pytest.MonkeyPatch) -> None:
    made = PackReader.__init__

    def make(self: PackReader, source: Any, *, name: str) -> None:
        made(self, source, name=Agreeable(name))

    patch.setattr(PackReader, "__init__", make)


def environments_are_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(catalog, "check_environment", Agreeable)


def saves_replace(patch: pytest.MonkeyPatch) -> None:
    publish = Catalog.publish

    def publish_alone(self: Catalog, *arguments: Any, **keywords: Any) -> Any:
        others = self.store.list(f"v1/{self.environment_id}/packs")
        written = publish(self, *arguments, **keywords)
        for each in others:
            self.store.delete(each.key)
        return written

    patch.setattr(Catalog, "publish", publish_alone)


def prune_without_grace(patch: pytest.MonkeyPatch) -> None:
    for name in ("_unneeded", "_over_limit"):
        patch.setattr(prune, name, _limited(getattr(prune, name), grace_seconds=float("-inf")))


def prune_without_coverage(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(prune, "_paths", lambda *_: set())


def nothing_is_renewed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(saving, "make_plan", _limited(saving.make_plan, keep_seconds=float("inf")))


def _limited(function: Callable[..., Any], **changed: float) -> Callable[..., Any]:
    """The function with other limits than it is given."""
    signature = inspect.signature(function)

    def call(*arguments: Any, **keywords: Any) -> Any:
        bound = signature.bind(*arguments, **keywords)
        limits: Limits = bound.arguments["limits"]
        bound.arguments["limits"] = replace(limits, **changed)
        return function(*bound.args, **bound.kwargs)

    return call


def limit_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staging.StagedFile, "_check_room", lambda *_: None)


def nobody_takes_turns(patch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def take(*_: object) -> Iterator[None]:
        yield

    patch.setattr(Turns, "take", take)


def live_writers_are_swept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staging, "_is_orphan", lambda _: True)


def dead_writers_are_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staging, "_is_orphan", lambda _: False)


def notes_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Catalog, "suspects", lambda _: set())


def damage_hides_what_was_taken_over(patch: pytest.MonkeyPatch) -> None:
    restore_pack = restoring._restore_pack

    def restore(*arguments: Any) -> bool:
        restore_pack(*arguments)
        return True

    patch.setattr(restoring, "_restore_pack", restore)


def merges_forget_files(patch: pytest.MonkeyPatch) -> None:
    make_plan = saving.make_plan

    def plan(*arguments: Any, **keywords: Any) -> Any:
        made = make_plan(*arguments, **keywords)
        kept: Collection[Any] = made.files[:-1] if made.merged else made.files
        return replace(made, files=tuple(kept))

    patch.setattr(saving, "make_plan", plan)
