"""The packs of one environment in a store. It never shows what another environment made."""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import nlargest

from pytest_compilecache.errors import PackError, StoreError
from pytest_compilecache.pack import PackReader, PackSource, WrittenPack, write_pack
from pytest_compilecache.pack.index import ENVIRONMENT_ID, check_environment, is_name
from pytest_compilecache.store.base import LAYOUT, ObjectMissingError, Store
from pytest_compilecache.store.listing import list_readable

MAX_DESCRIPTION = 64 * 1024
MAX_ENVIRONMENTS = 256
MAX_NOTE = 1024

_DESCRIPTION = re.compile(rf"{LAYOUT}/({ENVIRONMENT_ID})/environment\.json")
_PACK = re.compile(r"([0-9a-f]{64})\.pack")


@dataclass(frozen=True, slots=True)
class PackRef:
    """A pack as a listing shows it; nothing of it was checked.

    Attributes:
        name: The digest that it is named after.
        size: Its bytes.
        modified: When it was published, in seconds since 1970 by the store's clock.
    """

    name: str
    size: int
    modified: float


class Catalog:
    """The packs of one environment.

    Args:
        store: Where they are.
        environment_id: The environment.

    Raises:
        ValueError: That is no id of an environment.

    Attributes:
        store: The same.
        environment_id: The same.
    """

    def __init__(self, store: Store, environment_id: str) -> None:
        self.store = store
        self.environment_id = check_environment(environment_id)
        self._base = f"{LAYOUT}/{environment_id}"

    def packs(self) -> list[PackRef]:
        """The packs there are, sorted by name. What has no pack's name is ignored."""
        prefix = f"{self._base}/packs"
        return [
            PackRef(found[1], each.size, each.modified)
            for each in self.store.list(prefix)
            if (found := _PACK.fullmatch(each.key, len(prefix) + 1))
        ]

    @contextmanager
    def open_pack(self, pack: PackRef | str) -> Iterator[PackReader]:
        """Open a pack by its name and check its index; it is closed with the context.

        Raises:
            ObjectMissingError: It is not there, or not any more.
            PackError: It is torn or hostile, or was made in another environment.
            StoreError: The store cannot be read.
        """
        name = pack.name if isinstance(pack, PackRef) else pack
        key = self._key(name)
        with self.store.open(key) as file:
            reader = PackReader(file, name=name)
            made_in = reader.index.environment
            if made_in != self.environment_id:
                reason = f"it was made in the environment {made_in}, and lies in another's folder"
                raise PackError(name, reason, f"delete {key} from the store")
            yield reader

    def readable(
        self, packs: Iterable[PackRef], superseded: set[str]
    ) -> Generator[tuple[PackRef, PackReader | PackError | StoreError | None]]:
        """Open packs in turn, the newest first, without those that another one took over.

        One that the medium refuses keeps nobody from the others: it may be another user's,
        or lie on a bad sector.

        Args:
            packs: The packs.
            superseded: The names of packs to leave out; what an opened pack supersedes is added.

        Yields:
            Each with its reader, which is closed at the next one; with what is wrong with
            it, or why it cannot be read; or with None when it is gone since it was listed.
        """
        for ref in sorted(packs, key=lambda each: (each.modified, each.name), reverse=True):
            if ref.name in superseded:
                continue
            try:
                with self.open_pack(ref) as reader:
                    superseded.update(reader.index.supersedes)
                    yield ref, reader
            except ObjectMissingError:
                yield ref, None
            except (PackError, StoreError) as error:
                yield ref, error

    def suspect(self, name: str, reason: str) -> None:
        """Note that a pack seems to be damaged, for those who can write it again.

        Raises:
            StoreError: The store cannot be written.
        """
        with self.store.stage() as staged:
            staged.file.write(reason.encode()[:MAX_NOTE])
            staged.publish(f"{self._base}/suspect/{check_name(name)}")

    def suspects(self) -> dict[str, float]:
        """The packs that a reader found damaged, each with the time of its note.

        A note may be wrong, or a lie.
        """
        prefix = f"{self._base}/suspect"
        found = ((each.key[len(prefix) + 1 :], each.modified) for each in self.store.list(prefix))
        return {name: modified for name, modified in found if is_name(name)}

    def publish(
        self,
        sources: Iterable[PackSource],
        *,
        created: float,
        supersedes: Iterable[str] = (),
        max_bytes: int | None = None,
        deadline: float = math.inf,
    ) -> WrittenPack:
        """Write files to the store as one more pack.

        Args:
            sources: The files; those that cannot be read whole are left out.
            created: The time, in seconds since 1970.
            supersedes: Names of packs whose content this one holds as well.
            max_bytes: What the pack may take.
            deadline: When to take no more sources, by ``time.monotonic``; the pack is
                published with those that it has.

        Returns:
            The pack. When no source could be read, it holds no file and is not published.

        Raises:
            PackTooLargeError: It would take more; nothing is published.
            StoreError: The store cannot be written.
        """
        with self.store.stage() as staged:
            written = write_pack(
                staged.file,
                sources,
                environment=self.environment_id,
                created=created,
                supersedes=supersedes,
                max_bytes=max_bytes,
                deadline=deadline,
            )
            if written.index.files:
                staged.publish(self._key(written.name))
        return written

    def describe(self, environment_json: str) -> None:
        """Put the description of the environment beside its packs, if there is none yet.

        Raises:
            ValueError: It is longer than ``environments`` would read.
            StoreError: The store cannot be written.
        """
        content = environment_json.encode()
        if len(content) > MAX_DESCRIPTION:
            raise ValueError(f"a description takes at most {MAX_DESCRIPTION} bytes")
        key = f"{self._base}/environment.json"
        try:
            self.store.open(key).close()
        except ObjectMissingError:
            with self.store.stage() as staged:
                staged.file.write(content)
                staged.publish(key)

    def description(self) -> str | None:
        """The description of the environment; None where none can be read. Others wrote it."""
        return self._text(f"{self._base}/environment.json")

    def environments(self) -> dict[str, str]:
        """The descriptions of all environments in the store by their id, the newest first.

        They are what others wrote: at most ``MAX_ENVIRONMENTS`` are read, none
        that is longer than ``MAX_DESCRIPTION`` bytes or no text, and nothing
        says that one is JSON.
        """
        found = [
            (each.modified, match[1], each.key)
            for each in list_readable(self.store).objects
            if each.size <= MAX_DESCRIPTION and (match := _DESCRIPTION.fullmatch(each.key))
        ]
        texts = {id_: self._text(key) for _, id_, key in nlargest(MAX_ENVIRONMENTS, found)}
        return {id_: text for id_, text in texts.items() if text is not None}

    def _text(self, key: str) -> str | None:
        try:
            with self.store.open(key) as file:
                content = file.read(MAX_DESCRIPTION + 1)
            return content.decode() if len(content) <= MAX_DESCRIPTION else None
        except (StoreError, UnicodeDecodeError):  # gone, or what another user keeps to himself
            return None

    def _key(self, name: str) -> str:
        return f"{self._base}/packs/{check_name(name)}.pack"


def check_name(name: str) -> str:
    """The same name, when a pack can have it.

    Raises:
        PackError: It is none, and might lead elsewhere.
    """
    if not is_name(name):
        raise PackError(f"{name!r:.80}", "it is not the name of a pack")
    return name
