"""What a consumer counts, per shard: the source of its reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

HALT_HELD_S: Final = 600.0
"""How long a reason to halt stays in the reports. The controller keeps the halt itself in its journal."""


class Tally:
    """Totals of one shard since the start of the process.

    Attributes:
        counts: "records", and what became of them.
        applied_commit_us: highest commit time seen, µs; old duplicates don't lower it.
        foreign_last_us: commit time of the last foreign write; 0 when there was none.
        imprecise_last_us: commit time of the last record without µs; 0 when there was none.
    """

    def __init__(self, *, now_s: Callable[[], float]) -> None:
        """Start at nothing.

        Args:
            now_s: monotonic clock in seconds.
        """
        self.counts: Counter[str] = Counter()
        self.applied_commit_us = 0
        self.foreign_last_us = 0
        self.imprecise_last_us = 0
        self._now_s = now_s
        self._halted = ""
        self._halted_at_s = 0.0

    def halt(self, reason: str) -> None:
        """Ask for a halt of the ramp, and for a person."""
        self._halted = reason
        self._halted_at_s = self._now_s()

    @property
    def halted(self) -> str:
        """Why the ramp is to halt; empty when it is not."""
        return self._halted if self._now_s() - self._halted_at_s < HALT_HELD_S else ""

    def foreign(self, committed_us: int) -> None:
        """Count a foreign write."""
        self.counts["foreign"] += 1
        self.foreign_last_us = max(self.foreign_last_us, committed_us)
