"""The fence: what one state transfer does to the standby item it meets (design.md, section 3, rules 1 to 3).

A transfer carries the mapped image of an item at a version. It may arrive late, twice, or after a newer one; whatever
the order, the same item results, because only a higher version is ever written. The adapters state the same rule as a
condition in the write itself and ask `judge` only what a refused condition meant, so this module is the meaning, and
the property and contract tests hold both to it.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from crossfade.core.image import Image
from crossfade.core.keys import Key


class Verdict(Enum):
    """What became of a transfer. None of these is an error; only CONFLICT needs a person."""

    APPLIED = "applied"
    STALE = "stale"  # the standby is newer: this transfer was overtaken
    DUPLICATE = "duplicate"  # the standby holds exactly this
    CONFLICT = "conflict"  # same version, other content: park it, never guess
    OWNED = "owned"  # the other table owns the key by now: its item is the truth
    UNVERSIONED = "unversioned"  # the item there was neither imported nor transferred: park it, a person decides
    THROTTLED = "throttled"  # not written yet: the same transfer must be sent again
    DEDUPLICATED = "deduplicated"  # a mark says that it was applied before: no write was sent


class Transfer(NamedTuple):
    """One state transfer, in the target's names.

    Attributes:
        key: the encoded key.
        version: of the owner write it copies (`cf_mv`, or commit time in µs when unstamped).
        image: mapped attributes plus the carried protocol attributes (`crossfade.core.item.CARRIED`),
            those present, raw. No key attribute, and never `cf_mv`, `cf_role` or `cf_gen`.
        first_generation: `cf_gen` of a row that the transfer creates: 0 in the new table, the image's in the legacy.
        repair: fence by `<=` instead of `<`: a repair rewrites the same version with the owner's content.
    """

    key: Key
    version: int
    image: Image
    first_generation: int = 0
    repair: bool = False
