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

from crossfade.core.protocol.writing import Transfer
from crossfade.core.values.keys import Key


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
