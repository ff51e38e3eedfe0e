"""What a late record means, and what the pass after a flip does with a key: one decision (ADR 0043).

A record of an ended interval says nothing but that its key may have been missed: its images are never written. What was
true at the flip is what the old owner's row holds, as long as nobody has written that row since:

    the old owner's row has a fence of this interval     Nothing: the application has moved on, and reverse knows it
    it holds what the owner's row holds                  Nothing
    else, before reverse is past the reads               Wait: an owner's write may be on its way
    else                                                 Copy: its content goes to the owner, if that still has the very
                                                         row that was read

Whoever carries a copy out sees by the stream that no record of the key was committed on the owner between its read and
its copy; if one was, both rows are parked, since the owner may have changed and changed back.

Called by the replicator's late records and by the verifier's pass after a flip.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from crossfade.core.protocol.plain.rows import PlainRow, owned, same


class Settled(Enum):
    """What needs no write."""

    MOVED_ON = "moved_on"
    EQUAL = "equal"
    WAIT = "wait"  # read both rows again, once reverse is past these reads


class CopyToOwner(NamedTuple):
    """The owner's row never had what was true at the flip.

    Attributes:
        content: what the owner is to hold; None: its row is to be deleted.
    """

    content: PlainRow | None


Late: TypeAlias = Settled | CopyToOwner


def settle(old: PlainRow | None, present: PlainRow | None, floor: int, *, reverse_is_past: bool) -> Late:
    """Decide about a key that the flip may have missed.

    Args:
        old: the old owner's row, which is the standby by now, as it stands there, in the owner's names.
        present: the owner's row.
        floor: the lowest fence of this interval (`crossfade.core.protocol.plain.map.OwnerMap.floor`); never 0, since
            nothing is late before the first flip.
        reverse_is_past: whether everything that was committed on the owner until the rows were read has been applied to
            the standby, and the standby was read after that.

    Raises:
        PoisonRecord: a value is not an attribute value.
    """
    if old is not None and old.version is not None and old.version >= floor:
        return Settled.MOVED_ON
    content = owned(old)
    if same(content, owned(present)):
        return Settled.EQUAL
    return CopyToOwner(content) if reverse_is_past else Settled.WAIT
