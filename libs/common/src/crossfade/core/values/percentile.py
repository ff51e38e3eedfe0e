"""Percentiles of what was measured."""

from __future__ import annotations

from collections.abc import Iterable


def percentile(share: float, values: Iterable[tuple[float, int]]) -> float | None:
    """Return the value below which a share of the measurements lies, one of those that were measured.

    Args:
        share: 0.99 for p99.
        values: each with how often it was measured, in any order.

    Returns:
        The value; None where nothing was measured.
    """
    ordered = sorted(values)
    left = share * (sum(times for _, times in ordered) - 1)
    for value, times in ordered:
        left -= times
        if left < 0:
            return value
    return None
