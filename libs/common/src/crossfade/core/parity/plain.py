"""What a difference means where an owner's row tells no version (the plain protocol), as a pure decision.

Two reads can't be ordered by what the rows say. Two other things can be told:

- A record of the owner, committed at c, equals a copy whose fence says c: the key is **verified**, by whichever reads
  or records showed them, in whichever order. So a key under constant writes is verified, too.
- A standby that **hasn't moved** for a whole bound, and was not what its owner was when that bound began, lacks what it
  should have got by now, whatever its owner does meanwhile:

        owner    A ──── B ────────────────── B or C ──
        standby  A ─────┬─────── A ─────────────┬─────
                        reads: B, A, B          reads: the standby is as it was, and still not equal: late

It is *stuck* if the owner has changed since (by reads) or its last record is above the fence, and *diverged* if the
fence is at or above the last record of the owner that was heard, or none was. While the map is not open, or changes
between the reads, nothing is said. Versions are commit times in µs, time is the caller's in seconds, as in
`crossfade.core.parity.classes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from crossfade.core.parity.classes import Difference, Pair, Reading, States, is_equal
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.shape import Side


class Look(NamedTuple):
    """What three reads showed, at a moment from which a bound may run.

    Attributes:
        ended_s: when the last of them ended.
        owner: digest of the owner's row, as read last.
        standby: digest of the standby's row, and its version.
    """

    ended_s: float
    owner: bytes
    standby: tuple[bytes, int]


@dataclass(slots=True)
class PlainFollowed:
    """One key on the follow list; answers as `crossfade.core.parity.classes.Followed`.

    Attributes:
        since_s: when it was put on the list.
        first: images below this version prove nothing about now: old duplicates keep coming.
        reached: version that the standby must have reached, as far as it was known then; 0 where it wasn't.
        by_reads: always False: records from `first` on may say that it is verified.
        verified: a record or read of the owner equalled a copy of that version.
        image: the image that verified the key from a stream; None otherwise.
        found: class last called.
        handover_since_s: always None: no key is between the tables.
        last: the owner's last record that was heard, µs; 0 for none.
        looked: the reads from which the bound runs; None before the first, and after the map has changed.
        states: what it was seen in.
    """

    since_s: float
    first: int
    reached: int = 0
    by_reads: bool = False
    verified: bool = False
    image: Row | None = None
    found: Difference = Difference.IN_FLIGHT
    handover_since_s: None = None
    last: int = 0
    looked: Look | None = None
    states: States = field(default_factory=States)

    @property
    def bound_since_s(self) -> float:
        """When the bound began to run; long ago before the first look, which is due at once."""
        return float("-inf") if self.looked is None else self.looked.ended_s

    def hear(self, side: Side, item: Row, rows: RowReader, *, streamed: bool = True) -> bool:
        """Take in one image of the key from a stream; return whether the key is verified now.

        Args:
            side: the table that it stands in.
            item: the image; an owner's at its commit time in µs.
            rows: reads it.
            streamed: whether a stream showed it.
        """
        version = item.version
        if version is None:
            return self.verified
        owns = rows.owns(item, side)
        if owns:
            self.last = max(self.last, version)
        if self.verified or version < self.first:
            return self.verified
        if self.states.see(version, rows.digest_of(item), 0, active=owns, streamed=streamed):
            self.verified, self.image = True, item
        return self.verified

    def unsaid(self, since_us: int) -> None:
        """Forget what was read and heard: the map is not open, or has changed.

        Args:
            since_us: a moment that the tables' clock has surely not passed yet.
        """
        self.looked, self.found, self.states = None, Difference.IN_FLIGHT, States()
        self.first, self.last, self.reached = since_us, 0, 0

    def settle(
        self, reading: Reading, rows: RowReader, began_s: float, bound_s: float, *, ended_s: float | None = None
    ) -> Difference:
        """Take in three consistent reads, made while the map was open and the same; call the class as far as it can be.

        Arguments and result as of `crossfade.core.parity.classes.Followed.settle`.
        """
        _, first, standby, again = reading
        if standby is not None and (version := rows.version_of(standby)) >= self.first:
            found = self.states.see(version, rows.digest_of(standby), 0, active=False, streamed=False)
            self.verified = self.verified or found
        if self.verified or any(is_equal(each, standby, rows) for each in (first, again)):
            self.verified, self.found = True, Difference.EQUAL
            return self.found
        look = Look(began_s if ended_s is None else ended_s, _digest(again, rows), _standing(standby, rows))
        if self.looked is None or look.standby != self.looked.standby:
            self.looked, self.found = look, Difference.IN_FLIGHT
        elif began_s - self.looked.ended_s >= bound_s:
            last, stood = max(self.last, self.reached), look.owner == self.looked.owner
            self.found = classify(reading, rows, last=last, stood=stood)
        return self.found


def classify(reading: Reading, rows: RowReader, *, last: int = 0, stood: bool = True) -> Difference:
    """Call the class of a key whose bound has passed.

    Args:
        reading: three consistent reads.
        rows: reads them.
        last: the owner's last version that is known; 0 for none.
        stood: whether the owner's row has not changed since the bound began, as far as is known.
    """
    _, first, standby, again = reading
    if rows.why_unreadable(standby):
        return Difference.UNREADABLE
    if any(is_equal(each, standby, rows) for each in (first, again)):
        return Difference.EQUAL
    if rows.is_live(first) != rows.is_live(again):
        return Difference.STUCK
    if not rows.is_live(standby):
        return Difference.MISSING
    if not rows.is_live(again):
        return Difference.EXTRA
    stood = stood and _digest(first, rows) == _digest(again, rows)
    return Difference.DIVERGED if stood and rows.version_of(standby) >= last else Difference.STUCK


def _digest(item: Row | None, rows: RowReader) -> bytes:
    return b"" if item is None or not rows.is_live(item) else rows.digest_of(item)


def _standing(item: Row | None, rows: RowReader) -> tuple[bytes, int]:
    return _digest(item, rows), rows.version_of(item)


def follow(pair: Pair, now_s: float, rows: RowReader, *, since_us: int) -> PlainFollowed:
    """Put a pair that is not equal on the follow list.

    Args:
        pair: as the sweep found it.
        now_s: monotonic clock.
        rows: reads it.
        since_us: a moment that the tables' clock has surely not passed yet: only what is committed later proves.
    """
    del pair, rows  # two scans of two moments: what they show is no beginning of a bound
    return PlainFollowed(since_s=now_s, first=since_us)
