"""The plain protocol's documents: the map item that says which table owns, and what a member says of itself."""

from __future__ import annotations

from typing import ClassVar

from crossfade.contracts.document import Document
from crossfade.core.protocol.plain.map import Interval, OwnerMap, State
from crossfade.core.values.shape import Side


class OwnerMapItem(Document, frozen=True):
    """The map item.

    Attributes:
        epoch: rises with each change.
        owner: the table that owns: "source" or "target".
        state: "open", "draining" or "sealed".
        intervals: the times in which either table owned, the oldest first; in each `owner`, `since_us` and `held_us`.
    """

    NAME: ClassVar[str] = "owner map"

    epoch: int
    owner: Side
    state: State
    intervals: tuple[Interval, ...]

    @classmethod
    def of_map(cls, owner_map: OwnerMap) -> OwnerMapItem:
        """Return the document of a map."""
        return cls(epoch=owner_map.epoch, owner=owner_map.owner, state=owner_map.state, intervals=owner_map.intervals)

    def to_map(self) -> OwnerMap:
        """Return the map."""
        return OwnerMap(self.epoch, self.owner, self.state, self.intervals)


class MemberBeat(Document, frozen=True):
    """What a member says of itself.

    Attributes:
        name: of the process, unique for its life.
        duty: "forward", "reverse", "repair", "redrive", "load" or "tail".
        acked: the epoch that it acknowledged last.
        unanswered_s: for how long its oldest request has had no answer; 0 for none.
        lease_s: how long the beat is valid.
        beat: rises with each beat.
    """

    NAME: ClassVar[str] = "member"

    name: str
    duty: str
    acked: int
    unanswered_s: float
    lease_s: float
    beat: int
