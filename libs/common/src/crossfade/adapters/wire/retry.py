"""How often and when to try again: full jitter, longer for throttles, and a budget for the whole client.

Sources: AWS Builders' Library, "Timeouts, retries, and backoff with jitter"; the retry quota of the SDKs' standard
mode, which keeps a client from multiplying the load on a service that is down.
"""

from __future__ import annotations

from typing import Final

from crossfade.core.values.backoff import backoff_s

FAULT_BASE_S: Final = 0.025
THROTTLE_BASE_S: Final = 0.1
CEILING_S: Final = 5.0


def pause_s(failures: int, *, throttled: bool, jitter: float, asked_s: float | None = None) -> float:
    """Return how long to wait before the next attempt, in seconds.

    Args:
        failures: attempts that failed so far, 1 or more.
        throttled: whether the last one was throttled, which takes longer to pass than a fault.
        jitter: random, 0 to 1: a uniform share of the window, so that clients spread out.
        asked_s: what the service asked for by retry-after; never undercut.
    """
    base_s = THROTTLE_BASE_S if throttled else FAULT_BASE_S
    delay_s = backoff_s(failures, first_s=base_s, longest_s=CEILING_S, jitter=jitter)
    return delay_s if asked_s is None else asked_s + delay_s


class RetryBudget:
    """Retries cost, successes pay: when most calls fail, the client stops retrying and fails fast."""

    CAPACITY: Final = 500.0
    COST: Final = 5.0
    INCOME: Final = 1.0

    def __init__(self) -> None:
        self.tokens = self.CAPACITY

    def spend(self) -> bool:
        """Take one retry's cost; False when the budget doesn't have it."""
        if self.tokens < self.COST:
            return False
        self.tokens -= self.COST
        return True

    def earn(self) -> None:
        """Note a success."""
        if self.tokens < self.CAPACITY:
            self.tokens = min(self.CAPACITY, self.tokens + self.INCOME)
