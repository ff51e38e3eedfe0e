"""Three kinds of time, which must never be taken for one another (ADR 0019).

    CommitUs     when a table took a write, µs since the epoch, read from the change record of that write. Only commit
                 times of the same table are compared: two tables, or two records of one key, are ordered by versions.
    monotonic    seconds of one process's own clock. Durations are differences of these, never of wall clocks.
    wall clock   µs since the epoch, of some process. It dates what people read, and seeds a version that rises from
                 there. Nothing is decided by comparing it with anything but AWS's `Date`.

Where a moment of ours has to be compared with commit times, it is made one: by a marker, whose own record says when the
table took it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, NewType

CommitUs = NewType("CommitUs", int)
"""A commit time, µs since the epoch. The type checker lets no wall clock (a plain int) pass for one."""

DATE_RESOLUTION_S = 1.0
"""HTTP's `Date` has whole seconds (RFC 9110): the moment lies within the second that it names."""


class Skew(NamedTuple):
    """By how much our wall clock is ahead of AWS's, as far as one answer's `Date` tells: an interval, not a number.

    Attributes:
        low_s: at least so much; negative when we may be behind.
        high_s: at most so much.
    """

    low_s: float
    high_s: float

    @property
    def surely_s(self) -> float:
        """What can't be explained by whole seconds and the round trip: 0 when our clock may be right."""
        if self.low_s > 0:
            return self.low_s
        return min(0.0, self.high_s)


def skew_of(date_s: float, sent_s: float, answered_s: float) -> Skew:
    """Return how far an answer's `Date` puts our clock off.

    Args:
        date_s: the header, seconds since the epoch.
        sent_s: our wall clock before the request was sent.
        answered_s: our wall clock when the answer had come.
    """
    return Skew(sent_s - date_s - DATE_RESOLUTION_S, answered_s - date_s)


class LatestCommit(NamedTuple):
    """The latest commit time of some kind of record in one table, and since when we know it. No wall clock is asked.

    Attributes:
        committed_us: the highest commit time told so far; 0 when there was none.
        seen_s: monotonic time at which it was first told.
    """

    committed_us: CommitUs = CommitUs(0)
    seen_s: float = 0.0

    def observe(self, committed_us: CommitUs, now_s: float) -> LatestCommit:
        """Return the state after a report."""
        return LatestCommit(committed_us, now_s) if committed_us > self.committed_us else self

    def age_s(self, reached_us: CommitUs, now_s: float) -> float | None:
        """Return for how long, at least, there was none; None if there has never been one.

        Args:
            reached_us: the highest commit time that was seen in the same table, of any record.
            now_s: monotonic.
        """
        if not self.committed_us:
            return None
        return max(now_s - self.seen_s, (reached_us - self.committed_us) / 1e6)


class Quiet(NamedTuple):
    """How long something has been continuously true, on one clock.

    Attributes:
        since_s: when it became true; None while it isn't.
    """

    since_s: float | None = None

    def observe(self, ok: bool, now_s: float) -> Quiet:
        """Return the state after one more look."""
        if not ok:
            return Quiet(None)
        return self if self.since_s is not None else Quiet(now_s)

    def lasted_s(self, now_s: float) -> float:
        """Return how long it has been true."""
        return 0.0 if self.since_s is None else max(0.0, now_s - self.since_s)


def utc(at_us: int) -> str:
    """Return a wall clock time in µs as text: an operator compares it with other logs."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
