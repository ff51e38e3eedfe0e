"""Which transaction ids an item remembers (design.md, section 4, Exactly once).

`cf_recent` holds the ids applied last and `cf_floor` the highest one ever trimmed. Ids are ULIDs, so their first 48
bits tell when the client made them. An id that is still in the set is known as a replay; one at or below the floor can
no longer be told from a new one and is refused; so nothing younger than the window may ever be trimmed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

WINDOW_MS: Final = 60_000
"""W: ids younger than this are never trimmed, so a retry within it always finds its first attempt."""

FULL_SIZE: Final = 1_000
"""K: the most ids an item holds."""

SOFT_SIZE: Final = 32
"""Smallest size at which a write trims."""

AHEAD_MS: Final = 5_000
"""How far an id's time may lie ahead of the server's clock."""


class Trim(NamedTuple):
    """What a trimming write leaves.

    Attributes:
        kept: ids that stay, without the operation's own.
        floor: the new floor; empty when none was ever trimmed.
        soft: size of the set from which the next write has to trim.
    """

    kept: frozenset[bytes]
    floor: bytes
    soft: int


class Full(NamedTuple):
    """The set is full of ids that must stay; nothing is applied."""

    retry_after_s: float


def ulid_ms(transaction_id: bytes) -> int:
    """Return the time in a ULID, ms since the epoch."""
    return int.from_bytes(transaction_id[:6], "big")


def is_from_the_future(transaction_id: bytes, now_ms: int) -> bool:
    """Say whether an id is too far ahead of the server's clock to be taken: it would outlive the window."""
    return ulid_ms(transaction_id) > now_ms + AHEAD_MS


def soft_size(left: int) -> int:
    """Return the size from which a write must trim again, given how many ids the last trim left."""
    return min(max(SOFT_SIZE, 2 * left), FULL_SIZE)


def plan_trim(recent: frozenset[bytes], floor: bytes, now_ms: int) -> Trim | Full:
    """Decide what a trimming write keeps.

    Args:
        recent: the ids the item holds.
        floor: its floor; empty when none was ever trimmed.
        now_ms: wall clock, ms since the epoch.

    Returns:
        The trim; or, when the set holds `FULL_SIZE` ids of the window, how long until one of them may go.
    """
    young = frozenset(each for each in recent if ulid_ms(each) > now_ms - WINDOW_MS)
    if len(young) >= FULL_SIZE:
        wait_ms = min(map(ulid_ms, young)) + WINDOW_MS - now_ms
        return Full(retry_after_s=max(wait_ms, 1) / 1000)
    return Trim(kept=young, floor=max(floor, *(recent - young), b""), soft=soft_size(len(young) + 1))
