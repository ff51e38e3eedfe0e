"""What a copy meets whose condition failed on a standby.

the row there                                 means
a lower fence of this interval                it went away and came back meanwhile: the copy is sent again
a higher fence, by a second or more           Verdict.STALE
a higher fence, by less, or an equal one:
    the same content                          Verdict.DUPLICATE
    other content                             Asks: the owner is read, and decides
no fence of this interval, or no row          FirstTouch: nobody has compared it since its table became the standby
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, TypeAlias

from crossfade.core.protocol.plain.map import version_at
from crossfade.core.protocol.plain.rows import PlainRow, fence_of, owned, parse, same, standing
from crossfade.core.protocol.writing import Transfer, Verdict
from crossfade.core.values.image import Image
from crossfade.core.values.shape import TableShape

NEAR_US: Final = 1_000_000
"""Commit times are approximate: records of one key that lie no further apart don't say which came first."""


class Met(Enum):
    """What only a read can settle."""

    AGAIN = "again"  # the condition holds by now
    ASKS = "asks"
    FIRST_TOUCH = "first_touch"


Judgement: TypeAlias = Verdict | Met


def judge(transfer: Transfer, met: Image | None, floor: int, shape: TableShape) -> Judgement:
    """Say what the row means that stood in a copy's way.

    Args:
        transfer: the copy.
        met: the row, as it stands in its table; None for nothing.
        floor: the lowest fence of this interval (`crossfade.core.protocol.plain.map.OwnerMap.floor`).
        shape: of the table.

    Raises:
        PoisonRecord: the row's fence is no integer, or a value is not an attribute value.
    """
    fence = None if met is None else fence_of(met)
    if met is None or fence is None or fence < floor:
        return Met.FIRST_TOUCH if floor else Met.AGAIN
    if fence < transfer.version:
        return Met.AGAIN
    if fence - transfer.version >= version_at(NEAR_US):
        return Verdict.STALE
    if same(standing(parse(transfer.image, shape)), standing(parse(met, shape))):
        return Verdict.DUPLICATE
    return Met.ASKS


def is_in_doubt(lost: Transfer, won: Transfer) -> bool:
    """Say whether two copies of one batch leave the owner to decide: the one that was read later has the lower version,
    by less than a second, and other content.

    Args:
        lost: read later, of a lower or the same version.
        won: read before it.
    """
    return won.version - lost.version < version_at(NEAR_US) and lost.image != won.image


def asked(fence: int | None, floor: int, committed_us: int, *, is_same: bool) -> int | None:
    """Return the version at which an owner's content is written to a standby that its record asked about.

    The standby is at the owner's content then, and at the record's commit time at least. A row that has the content by
    now, at a lower fence, is written again: else a record from between the two would take it back, after the one that
    asked has been acknowledged.

    Args:
        fence: of the standby's row; None when it has none.
        floor: the lowest fence of this interval; a lower one counts for nothing.
        committed_us: of the record that asks.
        is_same: whether the two rows hold the same.

    Returns:
        None where nothing is to be written.
    """
    standing_at = fence if fence is not None and fence >= floor else 0
    least = max(version_at(committed_us), floor)
    if is_same and standing_at >= least:
        return None
    return max(standing_at, least) + 1


def compared(fence: int | None, held_us: int) -> int:
    """Return the version at which a compare in the hold writes an owner's content to the standby.

    No record from before the hold has it, so that a late copy loses.

    Args:
        fence: of the standby's row; None when it has none.
        held_us: when the hold was proven, by the clock of the owner's table.
    """
    return max((fence or 0) + 1, version_at(held_us))


def may_replace(met: PlainRow | None, floor: int, known: Iterable[PlainRow | None]) -> bool:
    """Say whether a standby's row holds nothing that nobody else knows.

    Args:
        met: the row, in the standby's names.
        floor: the lowest fence of this interval; 0 in the first one, before which nobody wrote the standby.
        known: what records show from before a change, and what letters keep; None for no row.

    Raises:
        PoisonRecord: a value is not an attribute value.
    """
    if not floor or (met is not None and met.version is not None and met.version >= floor):
        return True
    return any(same(owned(met), owned(each)) for each in known)
