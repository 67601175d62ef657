"""What a cache may take: bytes, seconds and savers. Values only; who gives them checks them."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on a store, a workspace and what is done with them.

    Attributes:
        pack_bytes: Bytes that one pack may take in the store, compressed.
        split: Whether a save that comes to more becomes several packs; otherwise it fails.
        store_bytes: Bytes that everything in a store may take, at any instant; None for no bound.
        workspace_bytes: Bytes that a workspace is brought down to when no session uses it;
            None for no bound.
        free_bytes: Bytes of a disk that are left to others; with 0 the disk is not asked.
        concurrent_saves: How many processes may write to a store at once; the rest wait.
        save_seconds: How long a save, and the tidying up after it, may take at the end of a
            session. What is not done by then is left to the next one, and reported.
        lock_seconds: How long a saver waits for its turn; also how long an owner on a
            network file system may be silent before its turn is over.
        incomplete_seconds: The age at which an unfinished file is removed whose writer
            cannot be told to be alive.
        grace_seconds: The age below which nothing that was published is deleted.
        keep_seconds: The age at which a pack is deleted. What a session used of a pack
            half as old is saved again.
        fan: How many packs of similar size are merged into one.
    """

    pack_bytes: int = 1024 * MIB
    split: bool = True
    store_bytes: int | None = None
    workspace_bytes: int | None = None
    free_bytes: int = 64 * MIB
    concurrent_saves: int = 50
    save_seconds: float = 120.0
    lock_seconds: float = 30.0
    incomplete_seconds: float = 60.0
    grace_seconds: float = 3600.0
    keep_seconds: float = 30 * DAY
    fan: int = 8


DEFAULT_LIMITS = Limits()
