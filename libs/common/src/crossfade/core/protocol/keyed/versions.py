"""Versions: what orders the writes of a key (design.md, section 3, rules 1, 3 and 5).

A version is a number of 19 digits that an owner write raises, or, below FIRST_STAMPED, the commit time in µs of a
writer outside the protocol. The two are never compared as if they were one.
"""

from __future__ import annotations

from crossfade.core.protocol.keyed.item import FIRST_STAMPED, Item, version_of


def is_stamped(version: int) -> bool:
    """Say whether an owner write gave this version, so that it orders the item."""
    return version >= FIRST_STAMPED


def seeded(now_us: int) -> int:
    """Return the version that an item without one starts from: above all commit times, and rising with the clock.

    Args:
        now_us: wall clock, µs.
    """
    return now_us << 10


def above(*items: Item | None) -> int:
    """Return the next version above all of these items."""
    return max(version_of(item) for item in items) + 1


def lifted_version(seen: int | None, before: int, standby: int, seed: int) -> int:
    """Return the version to which an owner is lifted (rule 5): above both sides.

    The standby may lag behind what the owner once was, and an owner that lost its version doesn't tell how far it had
    got. A version given twice would make two events one, so such an owner is seeded again, as an owner write would.

    Args:
        seen: of the owner; None when it has none.
        before: of the owner before the stray, as far as known; 0 otherwise.
        standby: of the other side; 0 when it has none.
        seed: see `seeded`; used only when the owner has no stamped version.
    """
    return max(seen or 0, before, standby, 0 if is_stamped(seen or 0) else seed) + 1


def removal_version(version: int, committed_us: int) -> int:
    """Return the version of a raw REMOVE, which carries none of its own (rule 3).

    Args:
        version: `cf_mv` of the old image; 0 when it had none.
        committed_us: commit time of the record, µs.

    Returns:
        The old version + 1; of an unstamped item the commit time, as its writes were ordered.
    """
    return version + 1 if is_stamped(version) else committed_us
