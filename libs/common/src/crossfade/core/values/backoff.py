"""How long to wait before trying again: doubling, capped, and spread by chance so that clients part."""

from __future__ import annotations


def backoff_s(failures: int, *, first_s: float, longest_s: float, jitter: float, least: float = 0.0) -> float:
    """Return how long to wait before the next attempt, in seconds.

    Args:
        failures: attempts that failed in a row, 1 or more.
        first_s: window after the first of them; it doubles with each.
        longest_s: longest window.
        jitter: random, 0 to 1.
        least: share of the window that is always waited, 0 to 1. 0 spreads callers best; a single worker that nobody
            competes with, and that must not spin, waits half at least.
    """
    window_s = min(longest_s, first_s * 2.0 ** min(failures - 1, 16))
    return window_s * (least + (1.0 - least) * jitter)
