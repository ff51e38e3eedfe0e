"""What a change record tells under the plain protocol, at one view of the map.

    record of                                    tells
    the owner, in its interval                   Transfer: an owner write, at its commit time
    …with a fence that rose in the record        Ask: on the owner a fence proves nothing, both rows are read
    a table that owned then, and no longer does  Late: a hint; its images are never written
    before the first interval                    Skip OLD
    the standby, with a fence that rose          Skip ECHO: a copy of ours, coming back
    the standby's tombstone, removed             Skip TOMBSTONE_REMOVED
    the standby, by its TTL                      Expired: crosses to the owner on a condition
    the standby, else                            Stray: pages, and is parked with both images

A view may be old. `needs_the_map` says which decisions hold only after a consistent read of the map item.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from crossfade.core.protocol.plain.map import Interval, version_at
from crossfade.core.protocol.plain.rows import fence_of, is_tombstone
from crossfade.core.protocol.seam import ChangeRecord
from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import TableShape


class Left(Enum):
    """Why a record is not applied, and need not be."""

    NOT_OURS = "not_ours"
    OLD = "old"
    ECHO = "echo"
    TOMBSTONE_REMOVED = "tombstone_removed"


class Ask(NamedTuple):
    """The record can't decide: both rows are read, the standby's first, and the owner's content is copied if they
    differ.

    Attributes:
        key: of the standby's row.
        committed_us: of the record.
    """

    key: Key
    committed_us: int


class Late(NamedTuple):
    """A record of an ended interval: a hint that `crossfade.core.protocol.plain.late.settle` looks into.

    Attributes:
        key: of the row in the record's own table, which was the owner and is the standby by now.
        committed_us: of the record.
        past_hold: it was committed after the hold was proven: the hold was broken, which pages.
    """

    key: Key
    committed_us: int
    past_hold: bool


class Expired(NamedTuple):
    """The TTL service removed a row of the standby; the owner's goes only on a condition (ADR 0043).

    Attributes:
        key: of the row in the record's own table.
        committed_us: of the removal.
    """

    key: Key
    committed_us: int


class Stray(NamedTuple):
    """Somebody else changed the standby.

    Attributes:
        key: of the row in the record's own table.
        committed_us: of the change.
    """

    key: Key
    committed_us: int


Decision: TypeAlias = Transfer | Left | Ask | Late | Expired | Stray


def needs_the_map(decision: Decision) -> bool:
    """Say whether a decision holds only at a map that was read consistently after the record was.

    A view may be of a time when another table owned. What a view takes for an owner's write is one: whoever would go by
    a view that is too old has no place in the list of members any more.
    """
    return not isinstance(decision, Transfer | Ask)


def disturbs(decision: Decision) -> bool:
    """Say whether a record of an ended interval's owner, from after the hold, shows a change that isn't Crossfade's.

    Its row no longer says what was true at the flip, and goes nowhere on a late record's hint.
    """
    return isinstance(decision, Stray | Expired) or (isinstance(decision, Late) and decision.past_hold)


def has_risen(record: ChangeRecord, new: Image) -> bool:
    """Say whether the fence of a row rose in a change. On an owner it proves nothing.

    Raises:
        PoisonRecord: a fence is no integer.
    """
    fence = fence_of(new)
    return fence is not None and fence > record.old_version()


def is_copy_of(record: ChangeRecord, new: Image, interval: Interval) -> bool:
    """Say whether a change of a standby is a copy of an interval.

    The interval before goes on for a while after the hold that ended it, and so the first copies over the old owner's
    rows are of its time. No application can have read so high a fence.

    Args:
        record: of the table that was the standby in that interval.
        new: its new image.
        interval: of the other table.

    Raises:
        PoisonRecord: a fence is no integer.
    """
    return has_risen(record, new) and (fence_of(new) or 0) >= version_at(interval.since_us)


def of_standby(record: ChangeRecord, shape: TableShape) -> Decision:
    """Say what a record means whose table was the standby when it was committed.

    Raises:
        PoisonRecord: what Crossfade wrote into the row can't be read.
    """
    if record.new is not None:
        return Left.ECHO if has_risen(record, record.new) else Stray(record.key, record.committed_us)
    if was_tombstone(record, shape):
        return Left.TOMBSTONE_REMOVED
    return (Expired if record.expired else Stray)(record.key, record.committed_us)


def was_tombstone(record: ChangeRecord, shape: TableShape) -> bool:
    """Say whether a removal took a tombstone. A purge does that on an owner, too."""
    old = record.old
    return old is not None and is_tombstone(old, shape)
