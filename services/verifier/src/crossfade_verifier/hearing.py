"""What the continuous mode keeps of a key that is open, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from crossfade.core.parity.classes import States
from crossfade.core.values.shape import Side


class Open:
    """A key of which the streams have not shown yet that both sides are the same."""

    __slots__ = ("gone", "reached", "side", "since_s", "states", "tombstone", "top")

    def __init__(self, since_s: float) -> None:
        self.states = States()
        self.since_s = since_s  # when the bound began to run
        self.reached = 0  # version that the standby must have reached when it has run out
        self.top = 0  # highest version heard of either side
        self.side = Side.SOURCE  # which side owned it then
        self.gone = 0  # version at which its owner's row was removed
        self.tombstone = 0  # highest version of a deleted standby


@dataclass(slots=True)
class Counts:
    """What was heard so far.

    Attributes:
        heard: records of the migration's keys, by side.
        duplicates: those of them that had been heard before.
        late: those whose key had been verified at a higher version.
        verified: matches of an owner's state with a standby's.
        read_equal: suspected keys that reads, or later records, found to be equal.
        unobserved: keys for which there was no room, or whose records were lost: the next pass sees them.
        unreadable: records whose rows can't be read; their keys are suspected.
    """

    heard: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    duplicates: int = 0
    late: int = 0
    verified: int = 0
    read_equal: int = 0
    unobserved: int = 0
    unreadable: int = 0
