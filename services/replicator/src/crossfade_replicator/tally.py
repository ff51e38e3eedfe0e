"""What a consumer counts, per shard: the source of its reports."""

from __future__ import annotations

from collections import Counter

from crossfade_replicator.outcome import BatchOutcome


class Tally:
    """Totals of one shard since the start of the process; see `crossfade_replicator.outcome.BatchOutcome`.

    Attributes:
        counts: "records", and what became of them.
        applied_commit_us: highest commit time seen, µs; old duplicates don't lower it.
        stray_last_us: commit time of the last stray; 0 when there was none.
        imprecise_last_us: commit time of the last record without µs; 0 when there was none.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.counts: Counter[str] = Counter()
        self.applied_commit_us = 0
        self.stray_last_us = 0
        self.imprecise_last_us = 0

    def add(self, outcome: BatchOutcome) -> None:
        """Add a batch."""
        self.counts.update(outcome.counts)
        self.applied_commit_us = max(self.applied_commit_us, outcome.applied_commit_us)
        self.stray_last_us = max(self.stray_last_us, outcome.stray_last_us)
        self.imprecise_last_us = max(self.imprecise_last_us, outcome.imprecise_last_us)
