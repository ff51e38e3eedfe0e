"""What a difference between the two sides means (design.md, section 6), as a pure decision.

Under live traffic two reads of two tables almost never show the same moment, so an unequal pair proves nothing. It
goes on a follow list instead, and two things can happen:

- it is **verified**: some image of the standby equals an active image of the same version, whichever read or stream
  record showed them, in whichever order. So a key under constant writes is verified, too: not its last write, but one.
- it is **called**: the bound has passed, and owner, standby and owner again, read consistently in this order, agree on
  who the owner is. Until then the key is *in flight*, and its bucket is left out.

What a row says of owner, version and state, the writer protocol answers (`crossfade.core.protocol.seam`). All items
here are in the names of the target table. Time is the caller's, in seconds of any monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side

KEPT_STATES: Final = 4096
"""Versions whose states a followed key keeps at most; behind a lag of more than half as many, only a sample is kept."""

_SPARE: Final = 64
"""Versions that are kept without asking whether they are still wanted."""

_ALIKE: Final = 8
"""States of one version that are kept: more than one needs a writer from outside of the protocol."""

_DIGEST_BYTES: Final = 16
_STANDING_BYTES: Final = 8
_STATE_BYTES: Final = 1 + _DIGEST_BYTES + _STANDING_BYTES
_HIGHEST: Final = 2 ** (8 * _STANDING_BYTES) - 1


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
    UNREADABLE = "unreadable"  # a row of the key can't be understood: a role "X", a version that isn't a number
    TWO_OWNERS = "two_owners"  # both active: must never happen; needs a human decision
    HELD_OUT = "held_out"  # the other table refuses the key for good: it has nothing of it, or something older


FINAL: Final = frozenset(
    {
        Difference.STUCK,
        Difference.DIVERGED,
        Difference.MISSING,
        Difference.EXTRA,
        Difference.AHEAD,
        Difference.UNREADABLE,
        Difference.TWO_OWNERS,
    }
)
"""Classes that make a pass unclean, whatever comes later."""

SETTLED: Final = FINAL | {Difference.EQUAL, Difference.HELD_OUT}
"""Classes that no later read changes. A held-out key is no drift: its row itself says that it stays (ADR 0014)."""


class Pair(NamedTuple):
    """One key as both tables have it, in the names of the target."""

    source: Row | None
    target: Row | None

    def of(self, side: Side) -> Row | None:
        """Return one side's item."""
        return self.source if side is Side.SOURCE else self.target


class Reading(NamedTuple):
    """Three consistent reads of a key, in this order.

    Attributes:
        side: the table read first and last: the owner, as far as was known.
        owner: first read of it.
        standby: read of the other table.
        owner_again: second read of it.
    """

    side: Side
    owner: Row | None
    standby: Row | None
    owner_again: Row | None


def is_equal(owner: Row | None, standby: Row | None, rows: RowReader) -> bool:
    """Say whether a standby holds exactly what its owner holds, as read.

    Versions are compared where both are stamped; an unstamped owner compares by content. Nothing equals nothing;
    but two deleted rows of one version keep the same ids and events, and no standby stands above its owner.
    """
    if owner is None or standby is None:
        return not rows.is_live(owner) and not rows.is_live(standby)
    if not rows.is_live(owner) and not rows.is_live(standby) and rows.version_of(owner) != rows.version_of(standby):
        return True
    if rows.standing_of(standby) > rows.standing_of(owner):
        return False  # nothing could ever hand it the key
    if rows.version_of(owner) != rows.version_of(standby) and not _unordered(owner, standby, rows):
        return False
    try:
        return rows.is_same_state(owner, standby)
    except PoisonRecord:
        return False


def agrees(pair: Pair, rows: RowReader) -> bool:
    """Say whether a pair, as the sweep read it, is verified at once: one side owns it, and the other holds the same."""
    owner = rows.owner_of(*pair)
    return owner is not None and is_equal(pair.of(owner), pair.of(owner.other), rows)


def _unordered(owner: Row, standby: Row, rows: RowReader) -> bool:
    return not any(rows.is_ordered(rows.version_of(each)) for each in (owner, standby))


def owner_agrees(reading: Reading, rows: RowReader) -> bool:
    """Say whether both reads of the owner agree in who it is, and at which standing; it may be neither table."""
    side, first, standby, again = reading
    owner = rows.owner_of(*_pair(side, again, standby))
    same = rows.standing_of(first) == rows.standing_of(again) and rows.owner_of(*_pair(side, first, standby)) == owner
    return same and owner in (None, side)


def classify(reading: Reading, rows: RowReader, *, reached: int, late: bool) -> Difference | None:
    """Call the class of a pair that was not verified.

    Args:
        reading: three consistent reads.
        rows: reads them.
        reached: the version that the standby must have reached by now: the owner's when the bound began to run, 0
            when there was none.
        late: whether the bound had passed since when the standby was read.

    Returns:
        The class; None when the owner changed between the reads, so that nothing can be said.
    """
    side, first, standby, again = reading
    if _is_unreadable(reading, rows):  # nor does it say who owns the key
        return Difference.UNREADABLE if late else Difference.IN_FLIGHT
    if not owner_agrees(reading, rows):
        return None
    after = _pair(side, again, standby)
    if rows.owner_of(*after) is None:
        return Difference.TWO_OWNERS if rows.is_contested(*after) else Difference.IN_HANDOVER
    if is_equal(first, standby, rows) or is_equal(again, standby, rows):
        return Difference.EQUAL
    if rows.is_held_out(first) and rows.is_held_out(again) and rows.version_of(standby) < rows.version_of(first):
        return Difference.HELD_OUT
    return _late(first, standby, again, reached, rows) if late else Difference.IN_FLIGHT


def _is_unreadable(reading: Reading, rows: RowReader) -> bool:
    return any(rows.why_unreadable(each) for each in (reading.owner, reading.standby, reading.owner_again))


def _pair(side: Side, owner: Row | None, standby: Row | None) -> Pair:
    return Pair(owner, standby) if side is Side.SOURCE else Pair(standby, owner)


def _late(first: Row | None, standby: Row | None, again: Row | None, reached: int, rows: RowReader) -> Difference:
    if again is None:  # and the standby is live, or they were equal
        # An owner that was there when the bound began to run was removed since; its tombstone may be on its way.
        return Difference.EXTRA if first is None and not reached else Difference.IN_FLIGHT
    if standby is None:
        return Difference.MISSING
    owner_version, standby_version = rows.version_of(again), rows.version_of(standby)
    if standby_version == owner_version:
        return Difference.DIVERGED
    if _unordered(again, standby, rows):
        return Difference.STUCK
    if standby_version > owner_version:
        return Difference.AHEAD
    return Difference.STUCK if standby_version < reached else Difference.IN_FLIGHT


class States:
    """Which states a key was seen in, by version, until an owner and a standby are found in the same one.

    Digests are kept, never images: 25 bytes and the version, whatever a row holds. A state of the owner is wanted until
    the standby's stream has passed its version, and the other way round, so as many are kept as the lag is long. If
    those are too many, a sample is kept by version, the same for both sides: a match is only found later.
    """

    __slots__ = ("_by_version", "_grows_to", "_heard", "_sampled")

    def __init__(self) -> None:
        self._by_version: dict[int, bytes] = {}
        self._heard = (0, 0)  # highest version that a stream showed, of a standby and of an owner
        self._grows_to = _SPARE
        self._sampled = 0

    def __len__(self) -> int:
        return len(self._by_version)

    def see(self, version: int, digest: bytes, standing: int, *, active: bool, streamed: bool) -> bool:
        """Take in a state; return whether it proves that the standby had what its owner had.

        Args:
            version: of the row.
            digest: `RowReader.digest_of`.
            standing: `RowReader.standing_of`; a standby's is never above its owner's.
            active: whether the row owns the key.
            streamed: whether a stream showed it, and so has passed the versions before it; a read has not.
        """
        if streamed and version > self._heard[active]:
            self._heard = (self._heard[0], version) if active else (version, self._heard[1])
        standing = min(max(standing, 0), _HIGHEST)
        known = self._by_version.get(version, b"")
        kept = b""
        for start in range(0, len(known), _STATE_BYTES):
            each = known[start : start + _STATE_BYTES]
            if each[1 : 1 + _DIGEST_BYTES] == digest:
                other = int.from_bytes(each[1 + _DIGEST_BYTES :])
                if each[0] != active:
                    if (standing >= other) if active else (standing <= other):
                        return True
                else:  # of states that are the same, the standing that proves most: an owner's highest
                    standing = max(standing, other) if active else min(standing, other)
                    continue
            kept += each
        if self._is_sampled(version) and len(kept) < _ALIKE * _STATE_BYTES:
            self._by_version[version] = kept + bytes((active,)) + digest + standing.to_bytes(_STANDING_BYTES)
            if len(self._by_version) > self._grows_to:
                self._forget()
        return False

    def _is_sampled(self, version: int) -> bool:
        # The golden ratio's multiple spreads versions that follow each other, or rise by 1024, evenly.
        return version * 0x9E3779B97F4A7C15 % 2**64 >> 40 & self._sampled == 0

    def _forget(self) -> None:
        passed = self._heard
        self._by_version = {
            version: states
            for version, states in self._by_version.items()
            if version >= min(passed[not role] for role in states[::_STATE_BYTES])
        }
        while 2 * len(self._by_version) > KEPT_STATES:
            self._sampled = 2 * self._sampled + 1
            self._by_version = {each: states for each, states in self._by_version.items() if self._is_sampled(each)}
        self._grows_to = max(_SPARE, 2 * len(self._by_version))


@dataclass(slots=True)
class Followed:
    """One key on the follow list: what reads and streams have shown since it was found unequal.

    Attributes:
        since_s: when it was put on the list.
        first: the owner's version by then. Images below it prove nothing about now: old duplicates keep coming.
        bound_since_s: when the bound began to run; it starts over as long as the standby makes progress.
        reached: version that the standby must have reached when the bound has run out.
        by_reads: only reads may say that it is verified, since the owner's version isn't known and old duplicates keep
            coming: a row can't be understood, or none was read yet.
        verified: a standby image equalled an active one of the same version.
        image: the image that verified the key from a stream; None otherwise.
        found: class last called.
        handover_since_s: since when both sides were seen standby, without a break; None when they were not.
        states: what it was seen in.
    """

    since_s: float
    first: int
    bound_since_s: float
    reached: int
    by_reads: bool = False
    verified: bool = False
    image: Row | None = None
    found: Difference = Difference.IN_FLIGHT
    handover_since_s: float | None = None
    states: States = field(default_factory=States)

    def hear(self, side: Side, item: Row, rows: RowReader, *, streamed: bool = True) -> bool:
        """Take in one image of the key, from a read or from a stream; return whether the key is verified now.

        Args:
            side: the table that it stands in.
            item: the image, in the names of the target table; an unstamped one at its commit time in µs.
            rows: reads it.
            streamed: whether a stream showed it: reads are ahead of the streams.
        """
        if self.verified or self.by_reads or item.version is None or item.version < self.first:
            return self.verified
        active = rows.owns(item, side)
        digest, standing = rows.digest_of(item), rows.standing_of(item)
        if self.states.see(item.version, digest, standing, active=active, streamed=streamed):
            self.verified, self.image = True, item
        return self.verified

    def settle(
        self,
        reading: Reading,
        rows: RowReader,
        began_s: float,
        bound_s: float,
        *,
        ended_s: float | None = None,
    ) -> Difference:
        """Take in three consistent reads and call the class as far as it can be called.

        Args:
            reading: the reads.
            rows: reads them.
            began_s: monotonic clock when the first of them began. A standby that was read before the bound had passed
                is not late, however long the reads took.
            bound_s: how long a change may take to the standby.
            ended_s: when the last of them ended: the next bound runs from there; None when they took no time.

        Returns:
            The class; EQUAL means verified. IN_FLIGHT and IN_HANDOVER are not final: settle again later.
        """
        if self.by_reads and not _is_unreadable(reading, rows):
            self.by_reads, self.first = False, rows.version_of(reading.owner_again)
        for item, side in (
            (reading.owner, reading.side),
            (reading.standby, reading.side.other),
            (reading.owner_again, reading.side),
        ):
            if item is not None:
                self.hear(side, item, rows, streamed=False)
        late = began_s - self.bound_since_s >= bound_s
        called = classify(reading, rows, reached=self.reached, late=late)
        if called is Difference.IN_HANDOVER:
            self.handover_since_s = began_s if self.handover_since_s is None else self.handover_since_s
        elif called is not None:
            self.handover_since_s = None
        if self.verified or called is Difference.EQUAL:
            self.verified, called = True, Difference.EQUAL
        if called is Difference.IN_FLIGHT and late:
            # The standby reached what the owner had: replication works on this key. Measure it by the next target.
            self.bound_since_s = began_s if ended_s is None else ended_s
            self.reached = rows.version_of(reading.owner_again)
        self.found = called or Difference.IN_FLIGHT
        return self.found


def follow(pair: Pair, now_s: float, rows: RowReader) -> Followed:
    """Put a pair that is not equal on the follow list.

    Args:
        pair: as the sweep found it.
        now_s: monotonic clock.
        rows: reads it.
    """
    reached = max(rows.version_of(pair.source), rows.version_of(pair.target))
    owner = rows.owner_of(*pair)
    if owner is not None:
        reached = rows.version_of(pair.of(owner))
    # Of two rows of one version one was changed by whoever raises none: a duplicate of what it was proves nothing.
    alike = None not in pair and rows.version_of(pair.source) == rows.version_of(pair.target)
    followed = Followed(since_s=now_s, first=reached + alike, bound_since_s=now_s, reached=reached)
    followed.by_reads = any(rows.why_unreadable(each) for each in pair)
    if owner is None and not rows.is_contested(*pair):
        followed.handover_since_s = now_s
    for side in Side:
        item = pair.of(side)
        if item is not None:
            followed.hear(side, item, rows, streamed=False)
    return followed


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
