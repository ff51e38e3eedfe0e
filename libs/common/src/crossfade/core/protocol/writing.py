"""What is written to a table under any protocol, and what the table answers.

A transfer carries the mapped image of an owner's row at a version, under the condition that the protocol gave it; the
table's judgement is a `Verdict`. Any other write is the protocol's own (`crossfade.core.protocol.seam.Act`).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Generic, TypeAlias, TypeVar

from msgspec import Struct

from crossfade.core.protocol.row import Row
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key


class Transfer(Struct, frozen=True, gc=False):
    """One state transfer, in the destination's names. A struct, since a tuple costs four times as much a record.

    Attributes:
        key: the encoded key.
        version: of the owner write it copies.
        image: mapped attributes plus what the protocol carries along, those present, raw. No key attribute, and nothing
            that only the destination itself may write.
        first_standing: of a row that the transfer creates; see `crossfade.core.protocol.seam.Condition`.
        repair: fence by `<=` instead of `<`: a repair rewrites the same version with the owner's content.
    """

    key: Key
    version: int
    image: Image
    first_standing: int = 0
    repair: bool = False


class Verdict(Enum):
    """What a transfer does to the row it meets. None of these is an error; only two need a human decision.

    A judgement, which needs the two images and nothing else: what became of sending a transfer is
    `crossfade.ports.sending.Sent`.
    """

    APPLIED = "applied"
    STALE = "stale"  # the standby is newer: this transfer was overtaken
    DUPLICATE = "duplicate"  # the standby holds exactly this
    CONFLICT = "conflict"  # same version, other content: park it, never guess
    OWNED = "owned"  # the other table owns the key by now: its row is the truth
    UNVERSIONED = "unversioned"  # the row there was neither imported nor transferred: park it for a human decision


HOLDS: Final = frozenset({Verdict.APPLIED, Verdict.DUPLICATE, Verdict.STALE})
"""The standby holds this version or a newer one: no later copy of it needs a write."""


class Unfit(Struct, frozen=True, gc=False):
    """The table will never take this write, whatever stands there: too large, or a value it doesn't allow.

    It says nothing of other keys, nor of the same write by a release that maps the key differently. A table that is
    gone or a right that is denied is no such answer, but an error.

    Attributes:
        because: the store's own words.
    """

    because: str


AnyRow = TypeVar("AnyRow", bound="Row", covariant=True)


class Applied(Struct, Generic[AnyRow], frozen=True, gc=False):
    """The write took effect; `item` is the row after it."""

    item: AnyRow


class Refused(Struct, Generic[AnyRow], frozen=True, gc=False):
    """The condition failed; `item` is what stood in its way (None: nothing is there)."""

    item: AnyRow | None


Answer: TypeAlias = Applied[AnyRow] | Refused[AnyRow] | Unfit
