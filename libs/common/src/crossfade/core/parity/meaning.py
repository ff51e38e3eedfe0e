"""What a class of difference means, and what to do about it: the one home of these texts."""

from __future__ import annotations

from shlex import quote
from typing import Final

from crossfade.core.parity.classes import Difference

MEANS: Final = {
    Difference.EQUAL: "both tables hold the same",
    Difference.IN_FLIGHT: "the other table differs from the owner, for less than the bound: the copy may be on its way",
    Difference.IN_HANDOVER: "both rows are standby: the key is between the tables, and writes to it wait",
    Difference.STUCK: "the other table has been behind for longer than the bound: the copy was lost, parked or refused",
    Difference.DIVERGED: "both rows have the same version, and different content: another writer changed one of them",
    Difference.MISSING: "the owner has the row, and the other table has nothing: the copy was lost, parked or refused",
    Difference.EXTRA: "the owner has nothing, the other table has a row: a delete was lost, or another writer added it",
    Difference.AHEAD: "the other table is above its owner: the owner lost writes, or another writer raised the copy",
    Difference.UNREADABLE: "an attribute of the protocol can't be read, so nobody knows which table owns the key",
    Difference.TWO_OWNERS: "both rows are active: both tables take writes to the key",
    Difference.HELD_OUT: "the key stays with its owner, because the other table refuses it for good; this is not drift",
}
"""What a class says of its keys, in one sentence."""

MEANS_BY_MAP: Final = MEANS | {
    Difference.STUCK: "the owner has changed, and the other table has not followed for longer than the bound: the copy "
    "was lost, parked or refused",
    Difference.DIVERGED: "the other table holds something else than its owner, and no change of the owner was heard "
    "that it waits for: another writer changed it, or a copy was lost before this verifier began to listen",
    Difference.UNREADABLE: "the copy's fence or mark can't be read, so no later copy will be taken",
}
"""The same, where one table owns all rows and an owner's row tells no version."""

ABSENT: Final = "neither table has the key"
"""What two absent rows mean."""

FLIPPING: Final = "the tables are being flipped: nothing can be said of this moment"
"""What reads mean while the map is not open, or changes."""

MOVING: Final = (
    "the owner changed while the key was read: the key is being moved, and nothing can be said of this moment"
)
"""What reads mean that disagree on the owner each time."""

BY_PLAN: Final = (Difference.STUCK, Difference.DIVERGED, Difference.MISSING, Difference.EXTRA, Difference.AHEAD)
"""Classes that a repair makes right."""

_REPAIR: Final = "crossfade repair plan %s"

CURE: Final = {
    Difference.EQUAL: "nothing",
    Difference.IN_FLIGHT: "none: it catches up on its own",
    Difference.IN_HANDOVER: "none: the sweeper completes it; deploy/runbooks/handover-overdue.md if it stays",
    **{each: _REPAIR % f"--class {each.value}" for each in BY_PLAN},
    Difference.UNREADABLE: "correct the row that `cause` names: deploy/runbooks/parity-drift.md, under Unreadable",
    Difference.TWO_OWNERS: "needs a human decision: deploy/runbooks/two-owners.md",
    Difference.HELD_OUT: "remove the cause; then `crossfade cutover --execute` takes the key up again",
}
"""What to do about the keys of a class."""


def cure_of(found: Difference, key: bytes) -> str:
    """Return what to do about one key of a class."""
    return _REPAIR % f"--key {quote(key.decode())}" if found in BY_PLAN else CURE[found]
