"""What a consumer counts, per shard: the source of its reports."""

from __future__ import annotations

from collections import Counter


class Tally:
    """Totals of one shard since the start of the process.

    Attributes:
        counts: "records", and what became of them.
        applied_commit_us: highest commit time seen, µs; old duplicates don't lower it.
        foreign_last_us: commit time of the last stray; 0 when there was none.
        imprecise_last_us: commit time of the last record without µs; 0 when there was none.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.counts: Counter[str] = Counter()
        self.applied_commit_us = 0
        self.foreign_last_us = 0
        self.imprecise_last_us = 0

    def stray(self, committed_us: int) -> None:
        """Count a stray. What was found is in its letter, so nothing else need be remembered."""
        self.counts["foreign"] += 1
        self.foreign_last_us = max(self.foreign_last_us, committed_us)
