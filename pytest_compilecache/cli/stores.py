"""Commands about a store alone. They need neither torch nor a workspace."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import click

from pytest_compilecache.cli.application import WRONG
from pytest_compilecache.cli.options import (
    count,
    json_option,
    output_of,
    settings_with,
    store_option,
)
from pytest_compilecache.cli.output import Output, megabytes, number
from pytest_compilecache.errors import PackError, StoreError
from pytest_compilecache.limits import DAY, MIB, Limits
from pytest_compilecache.store import Store, folder_of, open_store
from pytest_compilecache.store.base import ObjectMissingError, StoredObject
from pytest_compilecache.store.catalog import Catalog
from pytest_compilecache.store.check import check as check_store
from pytest_compilecache.store.listing import list_readable, packs_in
from pytest_compilecache.store.prune import prune as prune_store
from pytest_compilecache.store.uniting import United, size_of, unite


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """What a store holds of one environment."""

    id: str
    packs: int
    bytes: int
    modified: float


@dataclass(frozen=True, slots=True)
class PackRow:
    """A pack; what only its index says is None where that cannot be read."""

    name: str
    files: int | None
    bytes: int
    modified: float
    supersedes: int | None


@click.command()
@store_option
@click.argument("environment", required=False)
@json_option
def ls(store: str | None, environment: str | None, **parameters: Any) -> int:
    """List the environments of a store, or the packs of one ENVIRONMENT.

    Exit code 1 when one of them cannot be read; the others are listed.
    """
    output = output_of(parameters)
    opened = existing(settings_with(store).store)
    if environment is not None:
        return _list_packs(output, opened, environment)
    readable = list_readable(opened)
    rows = _environments(readable.objects)
    facts = {
        "store": opened.url,
        "environments": [asdict(row) for row in rows],
        "unlisted": list(readable.unlisted),
        "troubles": readable.troubles,
    }
    if not output.facts(facts):
        for trouble in readable.troubles:
            output.warn(trouble)
        output.table(
            ("environment", "packs", "size", "last saved"),
            [(row.id, row.packs, megabytes(row.bytes), _ago(row.modified)) for row in rows],
        )
    return WRONG if readable.unlisted else 0


def existing(place: str) -> Store:
    """The store at a place, which a listing must not take for an empty one.

    Raises:
        click.UsageError: There is none.
    """
    if not folder_of(place).is_dir():
        raise click.UsageError(f"there is no store at {place}")
    return open_store(place)


def _environments(listing: Iterable[StoredObject]) -> list[EnvironmentRow]:
    packs: dict[str, list[StoredObject]] = defaultdict(list)
    for each, found in packs_in(listing):
        packs[found.environment].append(each)
    return [
        EnvironmentRow(
            environment,
            len(objects),
            sum(one.size for one in objects),
            max(one.modified for one in objects),
        )
        for environment, objects in sorted(packs.items())
    ]


def _list_packs(output: Output, store: Store, environment: str) -> int:
    rows, troubles = _packs(_catalog(store, environment))
    if not rows:
        raise click.UsageError(f"{store.url} holds nothing of the environment {environment}")
    packs = [asdict(row) for row in rows]
    facts = {"store": store.url, "environment": environment, "packs": packs, "troubles": troubles}
    if not output.facts(facts):
        for trouble in troubles:
            output.warn(trouble)
        _print_packs(output, rows)
    return WRONG if troubles else 0


def _packs(catalog: Catalog) -> tuple[list[PackRow], list[str]]:
    """The packs of an environment, the newest first, and what is wrong with some of them."""
    rows: list[PackRow] = []
    troubles: list[str] = []
    for ref in sorted(catalog.packs(), key=lambda pack: -pack.modified):
        files = supersedes = None
        try:
            with catalog.open_pack(ref) as reader:
                files, supersedes = len(reader.index.files), len(reader.index.supersedes)
        except ObjectMissingError:
            continue  # pruned since it was listed
        except (PackError, StoreError) as error:
            troubles.append(str(error))
        rows.append(PackRow(ref.name, files, ref.size, ref.modified, supersedes))
    return rows, troubles


def _print_packs(output: Output, rows: Iterable[PackRow]) -> None:
    output.table(
        ("pack", "files", "size", "saved", "takes over"),
        [
            (
                row.name[:16],
                "?" if row.files is None else row.files,
                megabytes(row.bytes),
                _ago(row.modified),
                number(row.supersedes, "pack") if row.supersedes else "",
            )
            for row in rows
        ],
    )


def _catalog(store: Store, environment: str) -> Catalog:
    try:
        return Catalog(store, environment)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="ENVIRONMENT") from None


def _ago(modified: float) -> str:
    seconds = max(0.0, time.time() - modified)
    for unit, name in ((DAY, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= unit:
            return f"{number(int(seconds // unit), name)} ago"
    return "just now"


@click.command()
@store_option
@json_option
def check(store: str | None, **parameters: Any) -> int:
    """Read every pack of a store to its last byte.

    Changes nothing. Exit code 1 when something is wrong.
    """
    output = output_of(parameters)
    opened = existing(settings_with(store).store)
    with output.progress("checking", lambda: size_of(opened)) as meter:
        result = check_store(opened, meter)
    facts = {
        "store": opened.url,
        "ok": result.ok,
        "packs": result.packs,
        "bytes": result.bytes,
        "findings": [asdict(each) for each in result.findings],
    }
    if not output.facts(facts):
        for each in result.findings:
            output.line(f"{each.key}: {each.reason} ({each.remedy})", "error")
        summary = f"{number(result.packs, 'pack')}, {megabytes(result.bytes)}"
        output.line(f"{summary}: {_findings(len(result.findings))}", "ok" if result.ok else "")
    return 0 if result.ok else WRONG


def _findings(count: int) -> str:
    return number(count, "finding") if count else "nothing is wrong"


@click.command()
@store_option
@click.option("--keep-days", type=count, metavar="N", help="Delete packs older than N days.")
@click.option("--max-mb", type=count, metavar="N", help="Bring the store down to N MiB.")
@json_option
def prune(store: str | None, keep_days: int | None, max_mb: int | None, **parameters: Any) -> int:
    """Delete packs that are too old, damaged, taken over by others, or over the limit.

    What was saved within the last hour stays, because a reader may be about to read it.
    Exit code 1 when an environment could not be listed, or something not deleted; the
    others were pruned.
    """
    output = output_of(parameters)
    settings = settings_with(store)
    opened = existing(settings.store)
    limits = _limits(settings.limits, keep_days, max_mb)
    with output.progress("pruning"):
        result = prune_store(opened, limits)
    facts = {
        "store": opened.url,
        "deleted": list(result.deleted),
        "bytes": result.bytes,
        "kept": result.kept,
        "unlisted": list(result.unlisted),
        "undeleted": list(result.undeleted),
        "troubles": list(result.troubles),
    }
    if not output.facts(facts):
        for trouble in result.troubles:
            output.warn(trouble)
        deleted = f"deleted {number(len(result.deleted), 'object')}, {megabytes(result.bytes)}"
        output.line(f"{deleted}; {number(result.kept, 'pack')} left", "ok")
    return WRONG if result.unlisted or result.undeleted else 0


def _limits(limits: Limits, keep_days: int | None, max_mb: int | None) -> Limits:
    if keep_days is not None:
        limits = replace(limits, keep_seconds=keep_days * DAY)
    if max_mb is not None:
        limits = replace(limits, store_bytes=max_mb * MIB)
    return limits


@click.command()
@click.argument("target")
@click.argument("sources", nargs=-1, required=True)
@json_option
def merge(target: str, sources: tuple[str, ...], **parameters: Any) -> int:
    """Copy what the SOURCES hold and TARGET lacks, such as the stores of CI shards.

    TARGET is made when it is not there. A source that is missing is an error; what is damaged
    or cannot be read is left out and named, and the exit code is 1.
    """
    output = output_of(parameters)
    opened = [existing(place) for place in sources]
    _refuse_to_change_a_source(target, sources)
    into = open_store(target, settings_with(target).limits)
    results: list[United] = []
    with output.progress("merging", lambda: sum(map(size_of, opened))) as meter:
        results.extend(unite(into, each, meter) for each in opened)
    facts = {
        "target": into.url,
        "sources": [
            {"store": each.url, **asdict(result)}
            for each, result in zip(opened, results, strict=True)
        ],
    }
    if not output.facts(facts):
        for each, result in zip(opened, results, strict=True):
            for trouble in result.troubles:
                output.warn(trouble)
            copied = f"{number(result.packs, 'pack')}, {megabytes(result.bytes)}, copied"
            output.line(f"{each.url}: {copied}; {result.known:,} there already", "ok")
    return WRONG if any(result.troubles for result in results) else 0


def _refuse_to_change_a_source(target: str, sources: Iterable[str]) -> None:
    into = folder_of(target).resolve()
    for source in sources:
        if folder_of(source).resolve() in into.parents:
            raise click.UsageError(f"TARGET {target} lies in the source {source}")
