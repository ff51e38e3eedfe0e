"""What a difference between the two sides means (design.md, section 6), as a pure decision.

Under live traffic two reads of two tables almost never show the same moment, so an unequal pair proves nothing. It
goes on a follow list instead, and two things can happen:

- it is **verified**: some image of the standby equals an active image of the same version, whichever read or stream
  record showed them, in whichever order. So a key under constant writes is verified, too: not its last write, but one.
- it is **called**: the bound has passed, and owner, standby and owner again, read consistently in this order, agree on
  who the owner is. Until then the key is *in flight*, and its bucket is left out.

All items here are in the names of the new table. Time is the caller's, in seconds of any monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from crossfade.core.protocol.keyed.content import canonical_content, same_content
from crossfade.core.protocol.keyed.item import Item, generation_of, is_active, is_held_out, version_of
from crossfade.core.protocol.keyed.versions import is_stamped
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side

KEPT_IMAGES: Final = 256
"""Versions a followed key keeps of each role; the oldest go first."""

_State: TypeAlias = tuple[frozenset[bytes], bytes, int, bytes]


class Difference(Enum):
    """Classes of difference."""

    EQUAL = "equal"
    IN_FLIGHT = "in_flight"  # behind, younger than the bound
    IN_HANDOVER = "in_handover"  # both standby
    STUCK = "stuck"  # behind, older than the bound
    DIVERGED = "diverged"  # same version, other content
    MISSING = "missing"  # the owner has it, the other side has nothing
    EXTRA = "extra"  # the owner has nothing, the other side has it
    AHEAD = "ahead"  # the standby is above its owner
    TWO_OWNERS = "two_owners"  # both active: must never be, and a person decides
    HELD_OUT = "held_out"  # the other table refuses the key for good: it has nothing of it, or something older


FINAL: Final = frozenset(
    {
        Difference.STUCK,
        Difference.DIVERGED,
        Difference.MISSING,
        Difference.EXTRA,
        Difference.AHEAD,
        Difference.TWO_OWNERS,
    }
)
"""Classes that make a pass unclean by themselves, whatever comes later."""

SETTLED: Final = FINAL | {Difference.EQUAL, Difference.HELD_OUT}
"""Classes that no later read changes. A held-out key is no drift: its row itself says that it stays (ADR 0014)."""


class Pair(NamedTuple):
    """One key as both tables have it, in the names of the new one."""

    legacy: Item | None
    new: Item | None

    def of(self, side: Side) -> Item | None:
        """Return one side's item."""
        return self.legacy if side is Side.LEGACY else self.new


class Reading(NamedTuple):
    """Three consistent reads of a key, in this order.

    Attributes:
        side: the table read first and last: the owner, as far as was known.
        owner: first read of it.
        standby: read of the other table.
        owner_again: second read of it.
    """

    side: Side
    owner: Item | None
    standby: Item | None
    owner_again: Item | None


def is_live(item: Item | None) -> bool:
    """Say whether there is anything: a tombstone or a stub is nothing, as an absent item is."""
    return item is not None and not item.deleted


def owner_of(pair: Pair, *, complete: bool = False) -> Side | None:
    """Return the side that owns the key; None when both or neither do.

    An absent item counts as active where `absent_is_active` says so, but never against an item that says it is: a row
    that somebody removed from under the protocol is missing, it does not own anything.
    """
    legacy = is_active(pair.legacy, Side.LEGACY, complete=complete)
    new = is_active(pair.new, Side.NEW, complete=complete)
    if legacy and new:
        legacy, new = pair.legacy is not None, pair.new is not None
    if legacy == new:
        return None
    return Side.LEGACY if legacy else Side.NEW


def _both_active(pair: Pair, complete: bool) -> bool:
    return None not in pair and all(is_active(pair.of(side), side, complete=complete) for side in Side)


def same_state(owner: Item, standby: Item) -> bool:
    """Say whether two images of one version hold the same: content, and what exactly-once rests on.

    The transaction ids, the floor and the version of the events are no content, and no digest counts them. But they
    travel with every transfer, and a standby that lacks them would apply a retried call twice after the handover.
    """
    return (
        owner.recent == standby.recent
        and owner.floor == standby.floor
        and owner.event_version == standby.event_version
        and same_content(owner, standby)
    )


def is_equal(owner: Item | None, standby: Item | None) -> bool:
    """Say whether a standby holds exactly what its owner holds, as read.

    Versions are compared where both are stamped; an unstamped owner compares by content. Nothing equals nothing.
    """
    if owner is None or standby is None:
        return not is_live(owner) and not is_live(standby)
    if owner.deleted and standby.deleted:
        return True
    if version_of(owner) != version_of(standby) and not _unstamped(owner, standby):
        return False
    try:
        return same_state(owner, standby)
    except PoisonRecord:
        return False


def agrees(pair: Pair, *, complete: bool = False) -> bool:
    """Say whether a pair, as the sweep read it, is verified at once: one side owns it, and the other holds the same."""
    owner = owner_of(pair, complete=complete)
    return owner is not None and is_equal(pair.of(owner), pair.of(owner.other))


def _unstamped(owner: Item, standby: Item) -> bool:
    return not is_stamped(version_of(owner)) and not is_stamped(version_of(standby))


def classify(reading: Reading, *, reached: int, late: bool, complete: bool = False) -> Difference | None:
    """Call the class of a pair that was not verified.

    Args:
        reading: three consistent reads.
        reached: the version that the standby must have reached by now: the owner's when the bound began to run, 0
            when there was none.
        late: whether the bound had passed since when the standby was read.
        complete: whether the flag document says so.

    Returns:
        The class; None when the owner changed between the reads, so that nothing can be said.
    """
    side, first, standby, again = reading
    before, after = _pair(side, first, standby), _pair(side, again, standby)
    owner = owner_of(after, complete=complete)
    if generation_of(first) != generation_of(again) or owner_of(before, complete=complete) != owner:
        return None
    if owner is None:
        return Difference.TWO_OWNERS if _both_active(after, complete) else Difference.IN_HANDOVER
    if owner is not side:
        return None
    if is_equal(first, standby) or is_equal(again, standby):
        return Difference.EQUAL
    if is_held_out(first) and is_held_out(again) and version_of(standby) < version_of(first):
        return Difference.HELD_OUT
    return _late(first, standby, again, reached) if late else Difference.IN_FLIGHT


def _pair(side: Side, owner: Item | None, standby: Item | None) -> Pair:
    return Pair(owner, standby) if side is Side.LEGACY else Pair(standby, owner)


def _late(first: Item | None, standby: Item | None, again: Item | None, reached: int) -> Difference:
    if again is None:  # and the standby is live, or they were equal
        # An owner that was there when the bound began to run was removed since; its tombstone may be on its way.
        return Difference.EXTRA if first is None and not reached else Difference.IN_FLIGHT
    if standby is None:
        return Difference.MISSING
    owner_version, standby_version = version_of(again), version_of(standby)
    if standby_version == owner_version:
        return Difference.DIVERGED
    if _unstamped(again, standby):
        return Difference.STUCK
    if standby_version > owner_version:
        return Difference.AHEAD
    return Difference.STUCK if standby_version < reached else Difference.IN_FLIGHT


@dataclass(slots=True)
class Followed:
    """One key on the follow list: what reads and streams have told of it since it was found unequal.

    Attributes:
        since_s: when it was put on the list.
        first: the owner's version by then. Images below it prove nothing about now: old duplicates keep coming.
        bound_since_s: when the bound began to run; it starts over as long as the standby gets on.
        reached: version that the standby must have reached when the bound has run out.
        verified: a standby image equalled an active one of the same version.
        image: the image that verified the key from a stream; None otherwise.
        found: class last called.
        handover_since_s: since when both sides were seen standby, without a break; None when they were not.
    """

    since_s: float
    first: int
    bound_since_s: float
    reached: int
    verified: bool = False
    image: Item | None = None
    found: Difference = Difference.IN_FLIGHT
    handover_since_s: float | None = None
    _active: dict[int, set[_State]] = field(default_factory=dict)
    _standby: dict[int, set[_State]] = field(default_factory=dict)

    def hear(self, side: Side, item: Item, *, complete: bool = False) -> bool:
        """Take in one image of the key, from a read or from a stream; return whether the key is verified now.

        Args:
            side: the table that it stands in.
            item: the image, in the names of the new table; an unstamped one at its commit time in µs.
            complete: whether the flag document says so.
        """
        if self.verified or item.version is None or item.version < self.first:
            return self.verified
        active = is_active(item, side, complete=complete)
        ours, theirs = (self._active, self._standby) if active else (self._standby, self._active)
        state = _state(item)
        ours.setdefault(item.version, set()).add(state)
        if len(ours) > KEPT_IMAGES:
            del ours[min(ours)]
        if state in theirs.get(item.version, ()):
            self.verified, self.image = True, item
        return self.verified

    def settle(
        self,
        reading: Reading,
        began_s: float,
        bound_s: float,
        *,
        ended_s: float | None = None,
        complete: bool = False,
    ) -> Difference:
        """Take in three consistent reads and call the class as far as it can be called.

        Args:
            reading: the reads.
            began_s: monotonic clock when the first of them began. A standby that was read before the bound had passed
                is not late, however long the reads took.
            bound_s: how long a change may take to the standby.
            ended_s: when the last of them ended: the next bound runs from there; None when they took no time.
            complete: whether the flag document says so.

        Returns:
            The class; EQUAL means verified. IN_FLIGHT and IN_HANDOVER are not final: settle again later.
        """
        for item, side in (
            (reading.owner, reading.side),
            (reading.standby, reading.side.other),
            (reading.owner_again, reading.side),
        ):
            if item is not None:
                self.hear(side, item, complete=complete)
        late = began_s - self.bound_since_s >= bound_s
        called = classify(reading, reached=self.reached, late=late, complete=complete)
        if called is Difference.IN_HANDOVER:
            self.handover_since_s = began_s if self.handover_since_s is None else self.handover_since_s
        elif called is not None:
            self.handover_since_s = None
        if self.verified or called is Difference.EQUAL:
            self.verified, called = True, Difference.EQUAL
        if called is Difference.IN_FLIGHT and late:
            # The standby reached what the owner had: replication works on this key. Measure it by the next target.
            self.bound_since_s = began_s if ended_s is None else ended_s
            self.reached = version_of(reading.owner_again)
        self.found = called or Difference.IN_FLIGHT
        return self.found


def follow(pair: Pair, now_s: float, *, complete: bool = False) -> Followed:
    """Put a pair that is not equal on the follow list.

    Args:
        pair: as the sweep found it.
        now_s: monotonic clock.
        complete: whether the flag document says so.
    """
    reached = max(version_of(pair.legacy), version_of(pair.new))
    owner = owner_of(pair, complete=complete)
    if owner is not None:
        reached = version_of(pair.of(owner))
    followed = Followed(since_s=now_s, first=reached, bound_since_s=now_s, reached=reached)
    if owner is None and not _both_active(pair, complete):
        followed.handover_since_s = now_s
    for side in Side:
        item = pair.of(side)
        if item is not None:
            followed.hear(side, item, complete=complete)
    return followed


def _state(item: Item) -> _State:
    """Return what `same_state` compares, as a value."""
    try:
        content = b"deleted" if item.deleted else canonical_content(item)
    except PoisonRecord:
        content = repr(item.content).encode()
    return item.recent, item.floor, item.event_version, content


@dataclass(slots=True)
class PassBook:
    """Counts of one pass, and whether it is clean.

    Attributes:
        verified: keys verified at once or by following.
        open: keys still followed.
        by_class: keys of each class called for good.
    """

    verified: int = 0
    open: int = 0
    by_class: dict[Difference, int] = field(default_factory=dict)

    def verify(self) -> None:
        """Count a key that was verified."""
        self.verified += 1

    def call(self, found: Difference) -> None:
        """Count a key that stays in a class other than equal."""
        self.by_class[found] = self.by_class.get(found, 0) + 1

    @property
    def clean(self) -> bool:
        """Every key is verified or held out, and none is in any other class."""
        return not self.open and not any(n for each, n in self.by_class.items() if each is not Difference.HELD_OUT)
