"""Latency and gaps, from the clients' books."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from crossfade_demo.book import Book, Call


class Latency(NamedTuple):
    """Of client calls in one stretch of time, retries included, in ms."""

    calls: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def latency(calls: list[Call], since_s: float, until_s: float) -> Latency:
    """Return the latency of the calls that ended between two moments of the monotonic clock."""
    taken = sorted(each.latency_s * 1000 for each in calls if since_s <= each.ended_s < until_s)
    if not taken:
        return Latency(0, 0.0, 0.0, 0.0)
    return Latency(
        calls=len(taken),
        p50_ms=round(taken[len(taken) // 2], 1),
        p99_ms=round(taken[min(len(taken) - 1, int(len(taken) * 0.99))], 1),
        max_ms=round(taken[-1], 1),
    )


def all_calls(books: list[Book]) -> list[Call]:
    """Return the calls of all clients in the order of their ends."""
    return sorted((each for book in books for each in book.calls), key=lambda each: each.ended_s)


def longest_gap_s(calls: list[Call], since_s: float, until_s: float) -> float:
    """Return the longest time in which no call succeeded."""
    ends = [since_s, *(each.ended_s for each in calls if each.ok and since_s <= each.ended_s <= until_s), until_s]
    return max(later - earlier for earlier, later in itertools.pairwise(ends))
