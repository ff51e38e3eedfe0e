"""What became of a batch: returned by a pipeline, added up by whoever reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from crossfade.contracts.letter import DeadLetter


class BatchOutcome(NamedTuple):
    """What became of the records of one batch.

    Attributes:
        counts: "records", and what became of them.
        applied_commit_us: highest commit time seen, µs; 0 when there was none.
        stray_last_us: commit time of the last stray; 0 when there was none.
        imprecise_last_us: commit time of the last record without µs; 0 when there was none.
        parked: letters that need a human decision, in the order in which they were stored.
        again: places of the records that could not be applied in the time allowed, ascending: they must be delivered
            again.
    """

    counts: Mapping[str, int] = {}
    applied_commit_us: int = 0
    stray_last_us: int = 0
    imprecise_last_us: int = 0
    parked: tuple[DeadLetter, ...] = ()
    again: tuple[int, ...] = ()


class Account:
    """A batch while it is worked on; `outcome` closes it. See `BatchOutcome` for the attributes."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.counts: Counter[str] = Counter()
        self.applied_commit_us = 0
        self.stray_last_us = 0
        self.imprecise_last_us = 0
        self.again: list[int] = []
        self._parked: list[DeadLetter] = []

    def stray(self, committed_us: int) -> None:
        """Count a stray. What was found is in its letter, so nothing else need be remembered."""
        self.counts["stray"] += 1
        self.stray_last_us = max(self.stray_last_us, committed_us)

    def park(self, letter: DeadLetter) -> None:
        """Count a letter that was stored; a settled one waits for nobody."""
        if not letter.settled:
            self.counts["parked"] += 1
            self._parked.append(letter)

    def outcome(self) -> BatchOutcome:
        """Return what became of the batch."""
        return BatchOutcome(
            self.counts,
            self.applied_commit_us,
            self.stray_last_us,
            self.imprecise_last_us,
            tuple(self._parked),
            tuple(sorted(self.again)),
        )
