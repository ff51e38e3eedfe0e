"""Latency and gaps, from the clients' books."""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from crossfade.core.values.percentile import percentile
from crossfade_demo.book import Book, Call
from crossfade_demo.pace import Pace

LOOKED_AT: Final = 200
"""Gaps, the longest by the clock: the longest in work is among them."""


class Latency(NamedTuple):
    """Of client calls in one stretch of time, retries included, in ms."""

    calls: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def latency(calls: list[Call], since_s: float, until_s: float) -> Latency:
    """Return the latency of the calls that ended between two moments of the monotonic clock."""
    taken_ms = [(each.latency_s * 1000, 1) for each in calls if since_s <= each.ended_s < until_s]
    return Latency(len(taken_ms), *(round(percentile(share, taken_ms) or 0.0, 1) for share in (0.5, 0.99, 1.0)))


def all_calls(books: list[Book]) -> list[Call]:
    """Return the calls of all clients in the order of their ends."""
    return sorted((each for book in books for each in book.calls), key=lambda each: each.ended_s)


class Gap(NamedTuple):
    """The longest time in which no call succeeded.

    Attributes:
        by_clock_s: as a clock tells it.
        worked_s: as an idle machine would have made it, if slowness is believed up to `crossfade_demo.pace.MOST`.
        slowness: of the machine meanwhile.
    """

    by_clock_s: float
    worked_s: float
    slowness: float


def longest_gap(calls: list[Call], since_s: float, until_s: float, pace: Pace) -> Gap:
    """Return the gap between successful calls that was the longest in work."""
    ends = [since_s, *(each.ended_s for each in calls if each.ok and since_s <= each.ended_s <= until_s), until_s]
    longest = sorted(itertools.pairwise(ends), key=lambda pair: pair[1] - pair[0])[-LOOKED_AT:]
    since_s, until_s = max(longest, key=lambda pair: pace.worked_s(*pair))
    return Gap(until_s - since_s, pace.worked_s(since_s, until_s), pace.slowness(since_s, until_s))
